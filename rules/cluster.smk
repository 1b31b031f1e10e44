# cluster: what is looked at before the first job, and when something is wrong; nothing is made, and no partition is known
#
# own: <results>/.head.lease   which Snakemake process submits the jobs of the run. A job sees by it whether its node has
#                              the same folder, and whether its head is still the run's.

from icsd.core.languages import check_installed
from icsd.workflow.head import check_shared
from icsd.workflow.start import explain_failures, limit_gpus, mark_outdated, start_head, warn_of_small_models

if workflow.remote_exec:
    check_shared(Path(cfg.results))


onstart:
    check_installed(cfg.captions.language)
    # what SPICE needs is asked for before anything is trained, not when the last job begins
    if "SPICE" in cfg.evaluation.metrics:
        from icsd.stages.evaluation.spice import Spice

        spice = Spice(**cfg.evaluation.spice.model_dump())
        if not cfg.downloads.below(spice.corenlp):
            spice.jars()
        if workflow.local_exec:  # a cluster's nodes may have another Java than this machine
            spice.check_java()
    start_head(workflow, cfg.run, Path(cfg.results))
    limit_gpus(workflow, GPUS)
    warn_of_small_models(workflow, cfg.left_small_models)
    mark_outdated(workflow)  # last: a refused start leaves all as it was


onerror:
    explain_failures(workflow, cfg.run)
