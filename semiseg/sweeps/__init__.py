"""A sweep: many trials from one file in W&B's sweep schema, on one machine or many. plan → work
(claims, search) → launch → status.

The record is the folder: a trial is finished where its run folder is, so a sweep that was killed at
any moment resumes with the same command, on however many processes, and repeats nothing.
"""

from semiseg.sweeps.launch import Outcome, sweep
from semiseg.sweeps.spec import trials
from semiseg.sweeps.status import status

__all__ = ["Outcome", "status", "sweep", "trials"]
