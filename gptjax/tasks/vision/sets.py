"""The sets of pictures that a run learns from and is judged on.

learned, held_out = learned_and_held_out(config, "contrastive", config.contrastive)
"""

from gptjax.config import ExperimentConfig
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.picture_files import LabelledPicture
from gptjax.data.labelled.pictures import load_pictures
from gptjax.runs import inputs
from gptjax.tasks.vision.config import PicturesSection


def learned_and_held_out(
    config: ExperimentConfig, name: str, section: PicturesSection
) -> tuple[Records[LabelledPicture], Records[LabelledPicture]]:
    """Loads both sets. Without `validation`, pictures are held out by a hash of their content.

    Args:
      config: its `data.validation_fraction` says how many are held out.
      name: of the section.
      section: names the sets.

    Raises:
      ValueError: no set is given, or as `load_pictures`.
    """
    if section.train is None:
        raise ValueError(
            f"config.{name}.train: got none, expected jsonl:ROWS#image,caption or folder:PATH, "
            "with pictures and their texts, or shapes to try it out"
        )
    return inputs.learned_and_held_out(
        load_pictures,
        section.train,
        section.validation,
        lambda picture: (Message("user", picture.picture.digest),),
        config.data.validation_fraction,
    )
