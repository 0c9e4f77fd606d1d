"""Images from Dockerfiles.

`build.py` has the one call. On the way: options.py (what is asked), context.py and tree.py (the files that came along), plan.py and
meaning.py (what each instruction does), graph.py, solve.py and steps.py (in what order, and what at once), cachekey.py and cache.py (what need not be
done), copy.py, stage.py and run.py (what changes files), export.py (the image). What the builder needs of others stands in needs.py.
"""
