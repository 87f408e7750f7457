"""Checkpoints that are whole, by their manifests."""

from gptjax.training.checkpoints.manifest import find_damage


def good_steps(checkpoints):
    """Steps of the checkpoints whose files all match their manifest, ascending."""
    folder = checkpoints.directory
    return [step for step in checkpoints.steps() if find_damage(folder / str(step)) is None]
