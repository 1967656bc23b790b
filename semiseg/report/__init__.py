"""How are finished runs shown? One page with its figures, tables and results.csv.

Facts of a study (:mod:`facts`, :mod:`advice`, :mod:`limits`) become whole sentences
(:mod:`sentences`, :mod:`answers`, :mod:`cautions`). :mod:`summary` joins the two, and
:mod:`page` puts them beside the figures (:mod:`figures`) and the tables (:mod:`tables`).
"""
