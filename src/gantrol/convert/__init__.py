"""Foreign checkpoints to ours, one file per origin. Nothing here executes code that came with a checkpoint.

gantrol.convert.import_checkpoint("official.pkl").save_pretrained("MODEL")
"""

from gantrol.convert.imported_model import ImportedModel
from gantrol.convert.importer import import_checkpoint

__all__ = ["ImportedModel", "import_checkpoint"]
