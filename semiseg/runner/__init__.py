"""Do one run: what does a trial become? A folder with weights, scores and a summary."""

from semiseg.runner.execute import Result, run

__all__ = ["Result", "run"]
