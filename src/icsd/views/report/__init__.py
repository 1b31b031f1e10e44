"""Report: plots and tables that people look at, made from the tables of a run as far as they are there.

run       which tables a run has, and which of them are there
style     what all plots look like, and how they become files
page      tables as HTML pages
scores, training, funnel, texts, costs, examples, state     one kind of result each
drawing   all of them, into a folder
"""
