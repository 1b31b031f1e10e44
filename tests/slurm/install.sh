#!/usr/bin/env bash
# Installs SLURM and what its accounting needs, from the distribution's packages, where they are missing.
# Nothing is started: the packages' own services are for machines with systemd.
set -euo pipefail

PROGRAMS=(munged slurmctld slurmd slurmdbd sacct sbatch mariadbd mariadb-install-db)
PACKAGES=(slurm-wlm munge slurmdbd mariadb-server-core mariadb-client-core)
PATH=$PATH:/usr/sbin:/sbin

missing=()
for program in "${PROGRAMS[@]}"; do
	command -v "$program" > /dev/null || missing+=("$program")
done
((${#missing[@]})) || exit 0

wanted="make test-slurm needs ${missing[*]}, of the packages ${PACKAGES[*]}"
command -v apt-get > /dev/null || {
	echo "$wanted: install them here by hand; only Debian and what descends from it is known to this script" >&2
	exit 1
}
[ "$(id -u)" = 0 ] || {
	echo "$wanted: have them installed by root, sudo apt-get install --no-install-recommends ${PACKAGES[*]}" >&2
	exit 1
}
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" > /dev/null
