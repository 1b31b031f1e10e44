#!/usr/bin/env bash
# Installs, where they are missing, the distribution's packages that some tests need: tests/packages.sh slurm, or pages.
# Nothing is started: the packages' own services are for machines with systemd.
set -euo pipefail

case ${1:-} in
slurm)
	programs=(munged slurmctld slurmd slurmdbd sacct sbatch mariadbd mariadb-install-db)
	packages=(slurm-wlm munge slurmdbd mariadb-server-core mariadb-client-core)
	;;
pages)
	programs=(chromium dot)
	packages=(chromium graphviz)
	;;
*)
	echo "usage: tests/packages.sh slurm | pages" >&2
	exit 2
	;;
esac
PATH=$PATH:/usr/sbin:/sbin

missing=()
for program in "${programs[@]}"; do
	command -v "$program" > /dev/null || missing+=("$program")
done
((${#missing[@]})) || exit 0

wanted="the tests need ${missing[*]}, of the packages ${packages[*]}"
command -v apt-get > /dev/null || {
	echo "$wanted: install them here by hand; only Debian and what descends from it is known to this script" >&2
	exit 1
}
[ "$(id -u)" = 0 ] || {
	echo "$wanted: have them installed by root, sudo apt-get install --no-install-recommends ${packages[*]}" >&2
	exit 1
}
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}" > /dev/null
