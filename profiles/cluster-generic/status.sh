#!/bin/sh
# The state of the SLURM job $1 in a word that cluster-generic knows: running, success or failed. The accounting is asked
# for a job that the controller has forgotten.
state=$(squeue --noheader --states=all --format=%T --jobs="$1" 2>/dev/null)
[ -n "$state" ] || state=$(sacct --noheader --allocations --parsable2 --format=State --jobs="$1" 2>/dev/null | head -1)
case "$state" in
COMPLETED) echo success ;;
PENDING | CONFIGURING | RUNNING | COMPLETING | STAGE_OUT | SIGNALING | SUSPENDED | STOPPED | REQUEUED | REQUEUE_HOLD | RESIZING) echo running ;;
*) echo failed ;;
esac
