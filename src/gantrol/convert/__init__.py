"""Foreign checkpoints to ours, one file per origin. Nothing here executes code that came with a checkpoint.

    gantrol.convert.import_checkpoint("official.pkl").save_pretrained("MODEL")

Reading what a stranger wrote
    stored_tensor.py                    tensors that stay in the file until they are wanted
    allowed_names.py                    what a pickle may ask for; gantrol.inert_pickle reads it and calls nothing
    torch_files.py                      what torch.save wrote
Making a model of it
    importer.py, foreign.py             which format it is
    nvidia.py, nvidia_modules.py        StyleGAN2 and StyleGAN3 pickles
    nvidia_configs.py, nvidia_names.py  their options and tensor names as ours
    state_dict_files.py                 dictionaries of state dicts, which name no config
    transgan.py, transgan_names.py      TransGAN of both versions
    autogan.py                          AutoGAN
    gan_control.py, gan_control_names.py
                                        GAN-Control's networks
    gan_control_files.py                its folders, and the latent groups of its args.json
    gan_control_controllers.py          its controllers, as controls
    blank_modules.py                    modules without weights yet
    imported_model.py                   a model that knows where it came from
"""

from gantrol.convert.imported_model import ImportedModel
from gantrol.convert.importer import import_checkpoint

__all__ = ["ImportedModel", "import_checkpoint"]
