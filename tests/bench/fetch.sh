# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by tests/bench/run: what the peers need.

# Charts; in-process peers; stores; servers and their clients; Boost.Histogram; Python's peers.
bench_packages=(gnuplot-nox libabsl-dev libtbb-dev liblmdb-dev libsqlite3-dev pkgconf
  redis-server libhiredis-dev memcached libmemcached-dev libboost-dev python3-venv)

# boost_headers DIRECTORY: sets boost_include to headers of Boost 1.83 or later. If the system has none, unpacks those of
# a package of Debian's next release into the directory, by a copy of apt's configuration that stays there: nothing of it
# is installed. Empty, with a note, if that fails. What an interrupted run left is not taken for the whole.
boost_headers() {
  boost_include=
  local dir=$1 version=/usr/include/boost/version.hpp
  mkdir -p "$dir"
  dir=$(realpath "$dir")
  if [[ -r $version && $(awk '/define BOOST_VERSION/{print $3}' "$version") -ge 108300 ]]; then
    boost_include=/usr/include
  elif [[ -d $dir/include/boost ]] || fetch_boost "$dir" >"$dir/log" 2>&1; then
    boost_include=$dir/include
  else
    echo "note: no Boost 1.83 or later here, and none from Debian's next release ($dir/log): its peers are left out"
  fi
}

fetch_boost() (
  set -eo pipefail
  cd "$1"
  # The archive that this system is configured to use, asked for the release after its own.
  uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
    awk '$2 == "bookworm" {print $1; exit}')
  [[ -n $uri ]]
  mkdir -p lists/partial cache/archives/partial
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri trixie main" >sources.list
  options=(-o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD/cache" -o APT::Sandbox::User=root -qq)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" download libboost1.88-dev
  rm -rf usr include
  dpkg-deb --fsys-tarfile libboost1.88-dev_*.deb | tar x --wildcards './usr/include/*'
  mv usr/include include # whole from here on
  rm -rf usr lists cache libboost1.88-dev_*.deb
)

# python_peers DIRECTORY: sets python to an interpreter with Python's peers, as far as they can be had.
python_peers() {
  local dir=$1
  python=$dir/bin/python
  if [[ ! -x $python ]] && ! python3 -m venv "$dir"; then
    python=python3
  elif ! "$python" -c 'import UltraDict, atomics' 2>/dev/null; then
    echo "installing with pip into $dir: UltraDict atomics"
    "$python" -m pip install --quiet --disable-pip-version-check UltraDict atomics >"$dir/log" 2>&1 ||
      echo "note: UltraDict could not be installed ($dir/log): it is left out"
  fi
}
