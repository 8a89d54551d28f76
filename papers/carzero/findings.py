"""What a phantom radiograph can show: how often, how it is drawn, what reports and label files call it.

``names``: what a rewritten report says, the wording of the five sets' prompts, most frequent first; each has the words that
reports use for it instead. Used by the generator and by the rewriter; no reader of real files knows this table.

>>> FINDINGS["effusion"].names[0], OPENI_TEXT["consolidation"]
('pleural effusion', ('Consolidation', 'Opacity'))
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """``rate``: share of images that show it. ``shape``: a function of :mod:`papers.carzero.phantom`. ``sided``: left or right.

    ``words``: name of a rewritten report -> the words of raw reports that mean it.
    """

    rate: float
    shape: str
    sided: bool
    words: dict[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.words)


FINDINGS: dict[str, Finding] = {
    "effusion": Finding(0.30, "meniscus", True, {
        "pleural effusion": ("fluid layering in the pleural space", "blunted costophrenic angle", "hydrothorax"),
    }),
    "atelectasis": Finding(0.24, "plates", True, {
        "atelectasis": ("volume loss", "linear collapse", "platelike bands"),
    }),
    "infiltration": Finding(0.20, "mottle", True, {
        "pulmonary infiltration": ("patchy shadowing", "ill defined infiltrate"),
        "lung infiltration": ("patchy infiltrate",),
        "lung opacity": ("hazy density",),
    }),
    "cardiomegaly": Finding(0.20, "large_heart", False, {
        "cardiomegaly": ("enlarged cardiac silhouette", "widened heart", "increased cardiothoracic ratio"),
    }),
    "nodule": Finding(0.15, "small_disc", True, {
        "lung nodule": ("coin lesion", "small round focus", "nodular density"),
    }),
    "consolidation": Finding(0.15, "patch", True, {
        "pulmonary consolidation": ("airspace filling", "dense lobar whiteness", "alveolar process"),
        "lung opacity": ("airspace opacification",),
    }),
    "pneumothorax": Finding(0.12, "apical_air", True, {
        "pneumothorax": ("collapsed lung with free air", "visceral pleural line", "apical lucency"),
    }),
    "mass": Finding(0.12, "large_disc", True, {
        "pulmonary mass": ("large rounded tumour", "bulky growth", "neoplastic process"),
        "abnormal lesion": ("suspicious focal abnormality",),
    }),
    "edema": Finding(0.10, "perihilar_haze", False, {
        "pulmonary edema": ("vascular congestion", "bat wing haze", "fluid overload pattern"),
    }),
    "pleural_thickening": Finding(0.10, "lateral_rim", True, {
        "pleural thickening": ("pleural peel", "thick lateral pleura", "pachypleuritis"),
    }),
    "emphysema": Finding(0.10, "dark_lungs", False, {
        "pulmonary emphysema": ("hyperinflated lungs", "hyperlucent lungs", "air trapping"),
    }),
    "fibrosis": Finding(0.08, "net", False, {
        "fibrosis": ("reticular scarring", "honeycomb pattern"),
        "pulmonary fibrosis": ("interstitial scarring",),
    }),
    "pneumonia": Finding(0.08, "stripes", True, {
        "pneumonia": ("air bronchograms", "infectious process", "lobar infection"),
    }),
    "fracture": Finding(0.07, "broken_rib", True, {
        "bone fracture": ("broken rib", "cortical step off", "displaced rib"),
    }),
    "granuloma": Finding(0.07, "bright_dots", True, {
        "calcified granuloma": ("dense punctate focus", "healed calcified lesion"),
        "tissue calcification": ("calcific deposit",),
        "lung granuloma": ("granulomatous remnant",),
    }),
    "hernia": Finding(0.05, "gas_bubble", False, {
        "hernia": ("retrocardiac gas bubble", "stomach above the diaphragm"),
        "hiatal hernia": ("intrathoracic stomach",),
    }),
    "dextrocardia": Finding(0.025, "mirrored_heart", False, {
        "dextrocardia": ("heart on the wrong side", "mirrored cardiac apex"),
    }),
    "cyst": Finding(0.025, "ring", True, {
        "lung cyst": ("thin walled air space", "bulla with hairline wall"),
    }),
    "abscess": Finding(0.02, "level", True, {
        "lung abscess": ("cavity with air fluid level", "thick walled cavity"),
    }),
    "drain": Finding(0.02, "tube", True, {
        "ventriculoperitoneal drain tube": ("shunt catheter", "tubing along the chest"),
    }),
}  # fmt: skip

# How the label files of the five sets name what is drawn; what a file does not name is a negative there.
OPENI_TEXT = {
    "atelectasis": ("Atelectasis",), "cardiomegaly": ("Cardiomegaly",), "effusion": ("Pleural Effusion",),
    "infiltration": ("Infiltrate", "Opacity"), "mass": ("Mass", "Lesion"), "nodule": ("Nodule",),
    "pneumonia": ("Pneumonia",), "pneumothorax": ("Pneumothorax",), "edema": ("Pulmonary Edema",),
    "emphysema": ("Emphysema",), "fibrosis": ("Pulmonary Fibrosis",), "pleural_thickening": ("Pleural Thickening",),
    "hernia": ("Hernia, Hiatal",), "fracture": ("Fractures, Bone",), "consolidation": ("Consolidation", "Opacity"),
    "granuloma": ("Calcified Granuloma",),
}  # fmt: skip
OPENI_PROMPTS = (
    "Atelectasis", "Cardiomegaly", "Pleural Effusion", "Lung Infiltration", "Pulmonary Mass", "Lung Nodule", "Pneumonia",
    "Pneumothorax", "Pulmonary Edema", "Pulmonary Emphysema", "Pulmonary Fibrosis", "Pleural Thickening", "Hernia",
    "Bone Fracture", "Lung Opacity", "Abnormal Lesion", "Calcified Granuloma", "Lung Granuloma",
)  # fmt: skip
CHESTXRAY14 = {  # in the order of the list's columns: prompt
    "atelectasis": "Atelectasis", "cardiomegaly": "Cardiomegaly", "effusion": "Pleural Effusion",
    "infiltration": "Pulmonary Infiltration", "mass": "Pulmonary Mass", "nodule": "Lung Nodule", "pneumonia": "Pneumonia",
    "pneumothorax": "Pneumothorax", "consolidation": "Pulmonary Consolidation", "edema": "Pulmonary Edema",
    "emphysema": "Pulmonary Emphysema", "fibrosis": "Fibrosis", "pleural_thickening": "Pleural Thickening",
    "hernia": "Hernia",
}  # fmt: skip
CHEXPERT = {
    "atelectasis": "Atelectasis", "cardiomegaly": "Cardiomegaly", "consolidation": "Consolidation", "edema": "Edema",
    "effusion": "Pleural Effusion", "pneumonia": "Pneumonia", "pneumothorax": "Pneumothorax", "fracture": "Fracture",
    "mass": "Lung Lesion", "nodule": "Lung Lesion", "infiltration": "Lung Opacity",
    "pleural_thickening": "Pleural Other", "drain": "Support Devices",
}  # fmt: skip
CHESTXDET = {
    "atelectasis": "Atelectasis", "granuloma": "Calcification", "consolidation": "Consolidation", "effusion": "Effusion",
    "emphysema": "Emphysema", "fibrosis": "Fibrosis", "fracture": "Fracture", "mass": "Mass", "nodule": "Nodule",
    "pneumothorax": "Pneumothorax",
}  # fmt: skip
PADCHEST = {  # label: prompt
    "atelectasis": ("atelectasis", "Atelectasis"), "cardiomegaly": ("cardiomegaly", "Cardiomegaly"),
    "effusion": ("pleural effusion", "Pleural Effusion"), "infiltration": ("infiltrates", "Pulmonary Infiltration"),
    "mass": ("mass", "Pulmonary Mass"), "nodule": ("nodule", "Lung Nodule"), "pneumonia": ("pneumonia", "Pneumonia"),
    "pneumothorax": ("pneumothorax", "Pneumothorax"), "consolidation": ("consolidation", "Pulmonary Consolidation"),
    "edema": ("pulmonary edema", "Pulmonary Edema"), "emphysema": ("emphysema", "Pulmonary Emphysema"),
    "fibrosis": ("pulmonary fibrosis", "Pulmonary Fibrosis"), "pleural_thickening": ("pleural thickening", "Pleural Thickening"),
    "hernia": ("hiatal hernia", "Hiatal Hernia"), "fracture": ("rib fracture", "Bone Fracture"),
    "granuloma": ("calcified granuloma", "Calcified Granuloma"), "dextrocardia": ("dextrocardia", "Dextrocardia"),
    "cyst": ("cyst", "Lung Cyst"), "abscess": ("abscess", "Lung Abscess"),
    "drain": ("ventriculoperitoneal drain tube", "Ventriculoperitoneal Drain Tube"),
}  # fmt: skip
SEVERITIES = ("mild", "moderate", "severe")
