"""Pages for people: ``report.md`` and ``report.html`` of runs and experiments, and the plots on them.

A page is made once, as blocks, and rendered twice. Nothing here imports torch; matplotlib and numpy come with the first plot.
"""
