"""What do runs say? From run folders to intervals, comparisons and curves.

It computes; :mod:`semiseg.report` draws and says. Read it in this order::

    load.py            run folders, sweeps and results.csv → Runs (runs.py, scores.py)
    results_csv.py     the table of means, both ways; scores_csv.py, the subjects beside it
    arms.py            which runs are replicates of one compared setting, and its name
    pairing.py         tables runs × subjects of several settings with the same rows
    design.py          groups of subjects and overlap of a table; groups.py, where they come from
    statistics.py      intervals and tests of means; subject_tests.py, bootstrap.py
    study.py           all of this for one data set and metric: cells and comparisons
    curves.py          learning curves and label equivalence; worth.py, those of a study
    variance.py        where spread comes from, stability of rankings; spread.py, those of a study
    mixes.py           what synthetic images give
    questions.py       the questions that a study is asked, each one call; it lists their files
    planning.py        how large the next study must be; pilot.py, what runs at hand say of it
    pseudo_labels.py   whether a method reinforces its own mistakes
"""
