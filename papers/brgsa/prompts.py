"""How the models are asked for a finding, in whose words.

The release asks "There is X", X being CT-RATE's label; CT-CLIP, an earlier method, asks that and "There is no X". A
summariser that writes the labels trains on the very prompts it is asked with, so two further wordings are tried: one in
the manner of a report, and one whose words for the finding stand in no list that wrote the training text.

>>> PROMPT.format(OWN_WORDS["Cardiomegaly"])
'There is a large heart'
"""

PROMPT = "There is {}"
ABSENT_PROMPT = "There is no {}"
REPORT_PROMPT = "{} is seen in the chest"  # the style of a raw report's sentence

# The 18 frequent findings in words of our own. None of them holds a phrase of the generated world's lexicon (tested).
OWN_WORDS = {
    "Medical material": "an implanted device",
    "Arterial wall calcification": "calcium in the wall of the aorta",
    "Cardiomegaly": "a large heart",
    "Pericardial effusion": "fluid around the heart",
    "Coronary artery wall calcification": "calcium in the coronary arteries",
    "Hiatal hernia": "stomach above the diaphragm",
    "Lymphadenopathy": "large lymph nodes",
    "Emphysema": "destroyed lung tissue full of air",
    "Atelectasis": "partial collapse of the lung",
    "Lung nodule": "a small round lesion of the lung",
    "Lung opacity": "a hazy area in the lung",
    "Pulmonary fibrotic sequela": "an old scar of the lung",
    "Pleural effusion": "fluid around the lung",
    "Mosaic attenuation pattern": "lung of patchy brightness",
    "Peribronchial thickening": "thick tissue around the bronchi",
    "Consolidation": "solid lung without air",
    "Bronchiectasis": "wide bronchi",
    "Interlobular septal thickening": "thick septa between the lobules",
}
