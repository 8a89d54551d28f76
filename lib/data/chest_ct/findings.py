"""The one table of the generated chest-CT world: 33 findings, their shape, zone, density, size, frequency and words.

The names are exactly the 18 CT-RATE and the 15 CT-RATE-LT labels. Frequencies fall Zipf-like through both groups, so
the CT-RATE-LT findings are the long tail; they borrow shapes, zones and words from frequent findings (a lung mass is
a big nodule, a pericardial calcification is a dense pericardial effusion). Used by `scanner` (shape, zone, hu,
size), `reports` (severity words, phrases) and `world` (frequencies).

    from lib.data.chest_ct.findings import FINDINGS; FINDINGS["Lung mass"].prevalence
"""

import math
from dataclasses import dataclass, replace

RIGHT_UPPER, LEFT_UPPER = "right upper lung", "left upper lung"
RIGHT_LOWER, LEFT_LOWER = "right lower lung", "left lower lung"
UPPER, LOWER = (RIGHT_UPPER, LEFT_UPPER), (RIGHT_LOWER, LEFT_LOWER)
LUNG = UPPER + LOWER
PLEURA = ("right pleura", "left pleura")

# Where a radiologist would say each zone is; one of the phrases is drawn for every mention.
LOCATION_WORDS = {
    RIGHT_UPPER: ("in the right upper lobe", "in the upper zone of the right lung"),
    LEFT_UPPER: ("in the left upper lobe", "in the upper zone of the left lung"),
    RIGHT_LOWER: ("in the right lower lobe", "at the base of the right lung"),
    LEFT_LOWER: ("in the left lower lobe", "at the base of the left lung"),
    "both lungs": ("in both lungs", "bilaterally"),
    "both upper lungs": ("in both upper lobes", "in the upper zones of both lungs"),
    "both lower lungs": ("in both lower lobes", "at both lung bases"),
    "right pleura": ("on the right side", "in the right hemithorax"),
    "left pleura": ("on the left side", "in the left hemithorax"),
    "mediastinum": ("in the mediastinum", "in the central chest"),
    "heart": ("at the level of the heart", "in the cardiac region"),
    "great vessels": ("along the great vessels", "in the vascular structures"),
    "hiatus": ("at the oesophageal hiatus", "behind the heart"),
    "chest wall": ("in the chest wall", "in the bony thorax"),
    "spine": ("along the thoracic spine", "in the vertebral column"),
}

SIZE_WORDS = ("small", "medium-sized", "large")
DEGREE_WORDS = ("mild", "moderate", "severe")
EXTENT_WORDS = ("slight", "marked", "extensive")


@dataclass(frozen=True)
class Finding:
    """One row.

    `hu` is the density painted (or added, for lung textures), `size_mm` the radius or thickness at severity 0 and 1
    (for cardiomegaly a factor, for emphysema a percentage of `hu`), `count` the range of copies, `prevalence` the
    fraction of scans, `words` severity from mild to severe, `phrases` the ways to name it, the label itself first; an
    article in front marks a countable singular noun.
    """

    name: str
    shape: str
    zones: tuple[str, ...]
    hu: float
    size_mm: tuple[float, float]
    count: tuple[int, int]
    words: tuple[str, str, str]
    phrases: tuple[str, ...]
    prevalence: float = 0.0


def _row(name, shape, zones, hu, size_mm, count, words, phrases):
    return Finding(name, shape, zones, hu, size_mm, count, words, tuple(p.strip() for p in phrases.split("|")))


# fmt: off
_FREQUENT = (  # the 18 CT-RATE labels, most frequent first
    _row("Lung nodule", "balls", LUNG, 60, (18, 26), (3, 5), SIZE_WORDS,
         "a lung nodule | a pulmonary nodule | a nodular lesion | parenchymal nodules | a rounded nodular density"),
    _row("Lung opacity", "cloud", LUNG, -350, (36, 52), (1, 2), EXTENT_WORDS,
         "a lung opacity | ground-glass density | ground-glass areas | a hazy density increase"
         " | frosted-glass infiltrates"),
    _row("Arterial wall calcification", "aortic arch", ("great vessels",), 800, (10, 14), (4, 6), DEGREE_WORDS,
         "arterial wall calcification | calcified plaques of the aortic wall | calcific changes of the thoracic aorta"
         " | mural calcifications of the aortic arch | aortic wall calcifications"),
    _row("Pulmonary fibrotic sequela", "bands", UPPER, 40, (11, 15), (3, 4), EXTENT_WORDS,
         "pulmonary fibrotic sequela | sequela fibrotic bands | linear scarring | parenchymal scar bands"
         " | chronic fibrotic streaks"),
    _row("Lymphadenopathy", "nodes", ("mediastinum",), 90, (17, 23), (4, 6), SIZE_WORDS,
         "lymphadenopathy | enlarged lymph nodes | pathologically sized mediastinal nodes | hilar nodal enlargement"
         " | nodal conglomerates"),
    _row("Atelectasis", "plate", LOWER, 20, (16, 24), (1, 1), DEGREE_WORDS,
         "atelectasis | plate-like volume loss | a collapsed segment | subsegmental collapse | loss of aeration"),
    _row("Coronary artery wall calcification", "coronary", ("heart",), 800, (9, 12), (3, 4), DEGREE_WORDS,
         "coronary artery wall calcification | calcified coronary plaques | coronary calcifications"
         " | calcium deposits in the coronary vessels | dense calcium along the anterior descending artery"),
    _row("Emphysema", "emphysema", ("both upper lungs",), -95, (110, 150), (1, 1), DEGREE_WORDS,
         "emphysema | emphysematous changes | centrilobular lucencies | parenchymal hyperlucency | bullous lucencies"),
    _row("Consolidation", "wedge", LOWER, 40, (32, 46), (1, 1), EXTENT_WORDS,
         "consolidation | a consolidated area | dense airspace filling | a consolidative density | alveolar filling"),
    _row("Hiatal hernia", "cavity", ("hiatus",), 60, (26, 36), (1, 1), SIZE_WORDS,
         "a hiatal hernia | herniation of the stomach | a sliding hernia | an intrathoracic stomach"
         " | a gastric hernia"),
    _row("Pleural effusion", "fluid layer", PLEURA, 10, (30, 55), (1, 1), DEGREE_WORDS,
         "pleural effusion | fluid in the pleural space | pleural fluid | hydrothorax"
         " | free fluid between the pleural leaves"),
    _row("Medical material", "device", ("chest wall",), 2500, (13, 18), (1, 1), ("fine", "dense", "prominent"),
         "medical material | a pacemaker | a central venous catheter | a metallic device | surgical hardware"),
    _row("Peribronchial thickening", "bronchi", ("both lungs",), -150, (9, 12), (4, 5), DEGREE_WORDS,
         "peribronchial thickening | peribronchial cuffing | thickened peribronchovascular sheaths"
         " | cuffing around the airways | increased peribronchovascular markings"),
    _row("Cardiomegaly", "enlarged heart", ("heart",), 45, (1.20, 1.42), (1, 1), DEGREE_WORDS,
         "cardiomegaly | an enlarged heart | cardiac enlargement | an increased cardiothoracic ratio"
         " | dilatation of the heart chambers"),
    _row("Bronchiectasis", "dilated bronchi", LOWER, 60, (16, 21), (4, 5), DEGREE_WORDS,
         "bronchiectasis | dilated bronchi | bronchiectatic changes | tubular airway dilatation | ectatic bronchi"),
    _row("Interlobular septal thickening", "septa", ("both lungs",), 230, (18, 26), (1, 1), DEGREE_WORDS,
         "interlobular septal thickening | thickened interlobular septa | prominent septal lines | Kerley lines"
         " | a fine septal network"),
    _row("Pericardial effusion", "pericardial sac", ("heart",), 5, (15, 24), (1, 1), DEGREE_WORDS,
         "pericardial effusion | fluid in the pericardial sac | pericardial fluid | hydropericardium"
         " | a fluid layer around the heart"),
    _row("Mosaic attenuation pattern", "mosaic", ("both lungs",), 300, (30, 38), (1, 1), DEGREE_WORDS,
         "a mosaic attenuation pattern | mosaic perfusion | patchwork attenuation | geographic areas of air trapping"
         " | heterogeneous lobular aeration"),
)
_LONG_TAIL = (  # the 15 CT-RATE-LT labels, in the column order of CT-RATE-LT-label.csv, which is roughly by frequency
    _row("Pneumonia", "cloud", ("both lower lungs",), -250, (20, 30), (3, 4), DEGREE_WORDS,
         "pneumonia | infectious infiltrates | pneumonic infiltration | an infectious process | bronchopneumonia"),
    _row("Atherosclerosis", "descending aorta", ("great vessels",), 700, (6, 9), (3, 4), DEGREE_WORDS,
         "atherosclerosis | atherosclerotic changes | atheromatous plaques | atheromatous wall irregularity"
         " | calcified atheroma of the descending aorta"),
    _row("Spondylosis", "endplates", ("spine",), 750, (26, 32), (3, 4), DEGREE_WORDS,
         "spondylosis | degenerative spinal changes | degenerative vertebral endplates | spondylotic changes"
         " | endplate sclerosis"),
    _row("Pneumothorax", "air layer", PLEURA, -1000, (30, 55), (1, 1), DEGREE_WORDS,
         "a pneumothorax | free air in the pleural space | pleural air | an air-filled pleural cavity"
         " | a visceral pleural line with absent markings"),
    _row("Bronchial thickening", "bronchi", ("both lower lungs",), -150, (7, 9), (4, 5), DEGREE_WORDS,
         "bronchial thickening | thickened bronchial walls | bronchial wall thickening | airway wall prominence"
         " | increased bronchial wall thickness"),
    _row("Osteophyte", "spurs", ("spine",), 1000, (12, 15), (2, 3), SIZE_WORDS,
         "an osteophyte | a bony spur | bridging spurs | osteophytic lipping | marginal bone outgrowths"),
    _row("Empyema", "lens", PLEURA, 50, (26, 36), (1, 1), SIZE_WORDS,
         "empyema | a loculated purulent collection | pus in the pleural space | an infected pleural collection"
         " | a lenticular pleural abscess"),
    _row("Lung cyst", "cavity", LUNG, -200, (22, 29), (1, 2), SIZE_WORDS,
         "a lung cyst | a thin-walled air cyst | a cystic airspace | parenchymal cysts | a thin-walled lucency"),
    _row("Lung mass", "balls", UPPER, 55, (24, 32), (1, 1), SIZE_WORDS,
         "a lung mass | a mass lesion | a tumoral lesion | a spiculated mass | a space-occupying lung lesion"),
    _row("Pericardial calcification", "pericardial sac", ("heart",), 700, (7, 10), (1, 1), DEGREE_WORDS,
         "pericardial calcification | a calcified pericardium | calcium plates around the heart"
         " | a pericardial calcific rind"
         " | eggshell calcification of the pericardium"),
    _row("Pneumomediastinum", "mediastinal gas", ("mediastinum",), -950, (9, 12), (3, 4), EXTENT_WORDS,
         "pneumomediastinum | free mediastinal air | extraluminal mediastinal gas | mediastinal emphysema"
         " | air dissecting along the mediastinum"),
    _row("Pulmonary fibrosis", "honeycomb", ("both lower lungs",), 480, (22, 32), (1, 1), DEGREE_WORDS,
         "pulmonary fibrosis | honeycombing | interstitial fibrosis | fibrotic interstitial lung disease"
         " | a usual interstitial pneumonia pattern"),
    _row("Tuberculosis", "cavity", UPPER, 60, (20, 26), (1, 1), DEGREE_WORDS,
         "tuberculosis | a tuberculous cavity | cavitary tuberculous disease | active specific infection"
         " | a cavitating tuberculoma"),
    _row("Pleural calcification", "lens", PLEURA, 900, (26, 36), (1, 1), EXTENT_WORDS,
         "pleural calcification | calcified pleural plaques | pleural plaque calcium | calcific pleural thickening"
         " | pleural calcium deposits"),
    _row("Rib fracture", "rib", ("chest wall",), 1100, (14, 19), (1, 2), ("subtle", "evident", "displaced"),
         "a rib fracture | a fractured rib | cortical disruption of a rib | a costal fracture | callus around a rib"),
)
# fmt: on


def _zipf(rows: tuple[Finding, ...], first: float, last: float) -> dict[str, Finding]:
    """Give rank k of n the prevalence first * k**-a, with a chosen so that rank n has `last`."""
    slope = math.log(first / last) / math.log(len(rows))
    return {row.name: replace(row, prevalence=first * rank**-slope) for rank, row in enumerate(rows, start=1)}


FINDINGS: dict[str, Finding] = _zipf(_FREQUENT, 0.35, 0.10) | _zipf(_LONG_TAIL, 0.06, 0.012)
# Every phrase without its article: what a summariser of rules looks for.
LEXICON: dict[str, tuple[str, ...]] = {
    name: tuple(p[2:] if p.startswith("a ") else p[3:] if p.startswith("an ") else p for p in f.phrases)
    for name, f in FINDINGS.items()
}
