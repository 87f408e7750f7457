"""How a command ends whose run a signal has ended; `gptjax.training.interruption` has the loop."""

import signal


class Interrupted(Exception):
    """A signal has ended a run, which has saved: no command that needs its end may go on.

    Attributes:
      exit_code: what a shell gives for that signal, 128 + its number.
    """

    def __init__(self, name: str, stopped: str = "stopped"):
        """`name` of the signal; `stopped` says what it has ended."""
        super().__init__(f"{name}: {stopped}; the same command goes on there")
        self.exit_code = 128 + signal.Signals[name]
