"""Med-MAT's table of datasets and subsets, written as the committed one is."""

import csv
import io

from papers.med_mat.data.registry import COLUMNS


def write_registry(path, registry):
    """``registry`` as ``read_registry`` reads it."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for source in registry.sources.values():
        writer.writerow(
            {
                "record_type": "dataset",
                "no": source.no,
                "name": source.name,
                "subset_no": ";".join(source.subset_nos),
                "same_images_as": ";".join(source.same_images_as),
                "source_url": source.url,
                "notes": source.notes,
            }
        )
    for subset in registry.subsets.values():
        writer.writerow(
            {
                "record_type": "subset",
                "no": subset.no,
                "name": f"Subset {subset.no}",
                "modality_code": subset.modality,
                "area": subset.area,
                "task": subset.task,
                "subset_no": subset.no,
                "member_dataset_nos": ";".join(registry.members[subset.no]),
                "role": subset.role,
                "family": subset.family,
                "table_names": ";".join(subset.names),
                "notes": registry.notes.get(subset.no, ""),
            }
        )
    path.write_text(stream.getvalue())
