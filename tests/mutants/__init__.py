"""Do the tests notice? Small changes to the package, one at a time, and which of them no test fails on.

    PYTHONPATH=tests python -m mutants [--each 40] [--seed 1] [--only PACKAGE ...] [--file PATH]

A mutant is one operator, number, condition or statement changed in a copy of the package. The tests of its own package run
first, the wider ones where these pass. Prints every survivor with its line; exit code 1 where there is one.

Some mutants cannot be told from the original, and survive rightly: the order of what is added up, a bound that is looked at
where it cannot be reached, a size that only speed goes by. `EQUIVALENT` in `mutants/known.py` lists those that were read,
with the reason.
"""
