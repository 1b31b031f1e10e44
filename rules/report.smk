# report: the tables of a run -> plots and pages for people, and Snakemake's page of them
#
# in:  <results>/captions/all.parquet, <results>/groups/, <results>/summaries/    sizes of groups, words, examples
#      <results>/captions/guard.parquet                                           what the guard found, where it is on
#      <results>/images/{arm}/{shard}.png                                         contact sheets
#      <results>/dataset/{arm}/{ledger,pairs}.parquet                             the funnel
#      <results>/alignment/{drawing}/{shard}.parquet                              scores of pairs, where images are scored
#      <results>/captioner/{arm}/seed-{seed}/history.parquet                      training curves
#      <results>/evaluation/scores.parquet                                        and the scores of each captioner and test set
#      <results>/benchmarks/, the store of replies                                time and tokens, as far as they are there
# out: <results>/report/*.svg, *.html, sheets/   `snakemake --report <results>/report.html` joins them into one page
#      <results>/report/so_far/                  the same for an unfinished run, for `make report`


report: "../report/workflow.rst"


# the results on Snakemake's page: file, caption in report/, category, label
REPORT = {
    "scores": ("scores.svg", "scores", "1 Scores", "Scores of the arms (plot)"),
    "scores_table": ("scores.html", "scores", "1 Scores", "Scores of the arms (table)"),
    "training": ("training.svg", "training", "2 Training", "Loss and validation scores"),
    "funnel": ("funnel.svg", "funnel", "3 From captions to pairs", "Kept and dropped (plot)"),
    "funnel_table": ("funnel.html", "funnel", "3 From captions to pairs", "Kept and dropped (table)"),
    "sizes": ("sizes.svg", "sizes", "4 Groups and summaries", "Sizes of groups"),
    "similarity": ("similarity.svg", "similarity", "4 Groups and summaries", "Similarity by rank"),
    "words": ("words.svg", "words", "4 Groups and summaries", "Words of captions and summaries"),
    "examples": ("examples.html", "examples", "4 Groups and summaries", "Summaries and groups to read"),
    "costs": ("costs.svg", "costs", "6 Time and money", "Beside the estimate (plot)"),
    "costs_table": ("costs.html", "costs", "6 Time and money", "Beside the estimate (table)"),
    "state": ("state.html", "state", "7 What is missing", "Tables of the run"),
}
if cfg.alignment.scores:
    REPORT |= {
        "alignment": ("alignment.svg", "alignment", "3 From captions to pairs", "Scores of pairs (plot)"),
        "alignment_table": ("alignment.html", "alignment", "3 From captions to pairs", "Scores of pairs (table)"),
        "alignment_pairs": (
            "alignment_pairs.png",
            "alignment_pairs",
            "3 From captions to pairs",
            "Pairs next to the line",
        ),
    }


rule draw_report:
    input:
        scores="<results>/evaluation/scores.parquet",
        histories=expand(
            "<results>/captioner/{arm}/seed-{seed}/history.parquet", arm=cfg.arms, seed=cfg.captioner.seeds
        ),
        ledgers=expand("<results>/dataset/{arm}/ledger.parquet", arm=cfg.arms),
        groups="<results>/groups/group_times.parquet",
        guard=GUARD,
        alignment=drawn_shards("alignment", *cfg.drawn_arms) if cfg.alignment.scores else [],
    output:
        **report_parts("<results>/report", REPORT),
        sheets=report(
            directory("<results>/report/sheets"),
            patterns=["{arm}.{shard}.png"],
            caption="../report/sheets.rst",
            category="5 Pictures",
            labels={"arm": "{arm}", "shard": "{shard}"},
        ),
    params:
        revision=REVISIONS["report"],
        finished=True,
    log:
        "<results>/logs/draw_report.log",
    conda:
        "../envs/icsd.yaml"
    threads: 1
    resources:
        mem_mb=jobs.memory(4000),
        runtime=jobs.minutes(60),
    script:
        "../scripts/draw_report.py"


# no input, since it reads whatever is there; --force makes it again
use rule draw_report as report_so_far with:
    input:
        [],
    output:
        **report_parts("<results>/report/so_far", REPORT),
        sheets=report(
            directory("<results>/report/so_far/sheets"),
            patterns=["{arm}.{shard}.png"],
            caption="../report/sheets.rst",
            category="5 Pictures",
            labels={"arm": "{arm}", "shard": "{shard}"},
        ),
    params:
        revision=REVISIONS["report"],
        finished=False,
    log:
        "<results>/logs/report_so_far.log",
