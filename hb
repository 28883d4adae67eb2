#!/usr/bin/env bash
# Sets Halfback up, builds it, runs it: see "./hb help".
#
# Writes to build/ and .venv/ only. Checks that passed are remembered in build/.setup until this file changes.
set -euo pipefail

self=$(readlink -f "${BASH_SOURCE[0]}")
root=${self%/*}
torch_version=2.13.0
build_packages=(g++ cmake ninja-build libcli11-dev nlohmann-json3-dev libfmt-dev libtomlplusplus-dev zlib1g-dev
  libsentencepiece-dev libicu-dev libpcre2-dev libgloo-dev python3-venv)
demo_packages=(bible-kjv)
study_packages=(dataset-fashion-mnist)
package_packages=(g++ cmake ninja-build python3-venv python3-dev)
test_packages=(libgtest-dev libgmock-dev librapidcheck-dev clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14
               chromium chromium-driver iproute2)

help() {
  cat <<'END'
usage: ./hb COMMAND

  demo              trains a small LLaMA on the King James Bible over 4 pipeline stages, with a report
  study demo        backprop beside local updates on Fashion-MNIST: compute against time, and the gradients; minutes
  python            builds the Python packages and installs them in build/python/venv
  test [ARGS]       builds and runs all tests; with ARGS (ctest's, as in -R Llama) only those of build/dev
  build [PRESET]    builds a preset: release (default), dev, asan, tsan, fuzz
  lint              checks the format of all C++ files and lints the folders without torch
  clean             removes what was built, the demo's report included; keeps .venv
  VERB [ARGS]       runs build/release/cli/halfback VERB, rebuilt when stale: train, simulate, ...
  help              prints this text; "./hb --help" lists the verbs

Installs what is missing: Debian packages (as root or with sudo), and torch in .venv unless python3 has one.
HALFBACK_TORCH=DIR uses the libtorch in DIR instead.
END
}

say() { printf '==> %s\n' "$*" >&2; }

fail() { # CODE TEXT
  printf 'error: %s\n' "$2" >&2
  exit "$1"
}

# Runs a noisy command. Its output goes to LOG; the end of it is shown when the command fails.
quietly() { # LOG COMMAND...
  "${@:2}" >"$1" 2>&1 && return
  tail -n 40 "$1" >&2
  rm -rf build/.setup
  fail 1 "$2 failed; its whole output is in $root/$1"
}

# One ./hb at a time sets up and builds; in the root folder. Not in a condition: that would switch "set -e" off.
locked() ( # COMMAND...
  cd "$root"
  mkdir -p build
  exec 9>build/.lock
  flock -n 9 || { say "waiting for another ./hb to finish building" && flock 9; }
  "$@"
)

install_packages() { # PACKAGE...
  local installed package missing=() as_root=(env DEBIAN_FRONTEND=noninteractive)
  command -v dpkg-query >/dev/null || { say "no dpkg here; expecting what Debian calls: $*" && return; }
  # shellcheck disable=SC2016  # the variables are dpkg-query's
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" ccache 2>/dev/null) || true
  for package in "$@" ccache; do
    grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
  done
  [[ ${missing[*]} != ccache && ${#missing[@]} -gt 0 ]] || return 0 # ccache alone is no reason to install
  if [[ $EUID -ne 0 ]]; then
    sudo -n true 2>/dev/null ||
      fail 2 "packages are missing; run: sudo apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo -n "${as_root[@]}")
  fi
  say "installing with apt-get: ${missing[*]}"
  "${as_root[@]}" apt-get -qq update >&2 || say "apt-get update failed; going on with the lists at hand"
  quietly build/apt-get.log "${as_root[@]}" apt-get -qq -y -o DPkg::Lock::Timeout=300 install \
    --no-install-recommends "${missing[@]}"
}

# Prints the folder of a Python's torch. Does not import torch, which takes seconds.
torch_of() { # PYTHON
  "$1" -c '
import importlib.metadata, importlib.util, pathlib
importlib.metadata.version("torch")
folder = pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0])
(folder / "include" / "ATen" / "core" / "Tensor.h").stat()
print(folder)' 2>/dev/null
}

make_venv() {
  local flags=()
  .venv/bin/python -m pip --version >/dev/null 2>&1 && return
  torch_of python3 >/dev/null && flags=(--system-site-packages)
  say "making the Python environment .venv"
  python3 -m venv "${flags[@]}" .venv
}

pip_install() { # ARGS
  local quiet=()
  make_venv
  [[ -t 2 ]] || quiet=(--quiet)
  say "installing into .venv (minutes): pip install $*"
  .venv/bin/python -m pip install --disable-pip-version-check --no-input "${quiet[@]}" "$@" >&2
}

has_headers() { [[ -f $1/include/ATen/core/Tensor.h ]]; } # TORCH

find_torch() { # sets $torch
  torch=${HALFBACK_TORCH:-}
  [[ -z ${HALFBACK_TORCH:-} ]] || return 0
  torch=$(torch_of .venv/bin/python || torch_of python3) && return
  pip_install "torch==$torch_version"
  torch=$(torch_of .venv/bin/python) || fail 1 "the torch in .venv has no C++ headers"
}

set_up() { # build, demo, study, test; sets $torch
  local stamp=build/.setup/$1 key packages=("${build_packages[@]}")
  key="$(sha256sum <"$self") ${HALFBACK_TORCH:-}"
  if [[ -f $stamp && $(<"$stamp") == "$key" && ($1 != test || -x .venv/bin/python) ]]; then
    torch=$(<build/.setup/torch)
    ! has_headers "$torch" || return 0
  fi
  [[ $1 != demo && $1 != test ]] || packages+=("${demo_packages[@]}")
  [[ $1 != study ]] || packages+=("${study_packages[@]}")
  [[ $1 != test ]] || packages+=("${test_packages[@]}")
  install_packages "${packages[@]}"
  find_torch
  has_headers "$torch" || fail 2 "no libtorch: $torch/include/ATen/core/Tensor.h is missing"
  [[ $1 != test ]] || make_venv
  mkdir -p build/.setup
  printf '%s\n' "$torch" >build/.setup/torch
  printf '%s\n' "$key" >"$stamp"
}

# What the tests' Python scripts import. Torch comes first, and no package may bring another one.
install_requirements() {
  local file=tests/python/requirements.txt beside=tests/python/requirements_beside.txt stamp=.venv/.requirements
  ! cmp -s <(cat "$file" "$beside") "$stamp" || return 0
  torch_of .venv/bin/python >/dev/null || pip_install "torch==$torch_version"
  .venv/bin/python -c 'import importlib.metadata as m; print("torch==" + m.version("torch"))' >build/torch.txt
  pip_install -r "$file" -c build/torch.txt
  .venv/bin/python -m pip --quiet uninstall --yes torchvision >&2 # of an earlier release
  rm -rf .venv/beside
  pip_install --no-deps --target .venv/beside -r "$beside"
  cat "$file" "$beside" >"$stamp"
}

configure() { # PRESET
  local folder=build/$1 fresh=() options=("-DCMAKE_PREFIX_PATH=$torch") wanted
  [[ $1 == release ]] || options+=("-DHALFBACK_PYTHON=$root/.venv/bin/python")
  wanted="${options[*]} $(sha256sum <CMakePresets.json)"
  if [[ -f $folder/.configured ]]; then
    [[ ! -f $folder/build.ninja || $(<"$folder/.configured") != "$wanted" ]] || return 0
    fresh=(--fresh)
  fi
  say "configuring build/$1"
  mkdir -p "$folder"
  quietly "$folder/configure.log" cmake "${fresh[@]}" --preset "$1" "${options[@]}"
  printf '%s\n' "$wanted" >"$folder/.configured"
}

build() { # PRESET
  configure "$1"
  # With nothing to do, nothing is said: what a verb prints stands alone.
  [[ $(cmake --build "build/$1" -- -n 2>&1) != *"no work to do"* ]] || return 0
  say "building build/$1"
  cmake --build "build/$1" >&2 && return
  rm -rf build/.setup
  fail 1 "build/$1 does not build"
}

prepare() { # build, demo, study or test; PRESET...
  set_up "$1"
  [[ $1 != test ]] || install_requirements
  for preset in "${@:2}"; do build "$preset"; done
}

prepare_lint() { set_up test; configure fuzz; }

# Whether a file is newer than what was built of it, or there is nothing yet.
is_stale() { # STAMP PATH...
  [[ ! -f $1 || -n $(find "${@:2}" -type f -newer "$1" -print -quit) ]]
}

# The requirements of a build, as pip takes them.
build_requirements() { # PYTHON PYPROJECT
  "$1" -c '
import ast, re, sys
wanted = ast.literal_eval(re.search(r"^requires = (\[.*\])", open(sys.argv[1]).read(), re.M)[1])
print(*[one for one in wanted if not one.startswith("torch")], sep="\n")' "$2"
}

# Both wheels in build/python/wheels, and a new build/python/venv that has them, the torch they are built for, and what their
# tests import.
build_packages() {
  local work=build/python tools=build/python/tools/bin/python venv=build/python/venv
  local core=(pyproject.toml CMakeLists.txt LICENSE cmake python/{CMakeLists.txt,README.md,stubs.pat,halfback,src}
    halfback/{base,schedule,timeline,simulate,views})
  local split=(python/torch halfback/{base,schedule,timeline,kernels,group,layers,transport,engine,data/micro_batch.{h,cpp}})
  mkdir -p "$work/wheels"
  if is_stale "$work/.tools" pyproject.toml python/torch/pyproject.toml; then
    say "making the Python environment build/python/tools"
    quietly "$work/tools.log" python3 -m venv --clear "$work/tools"
    build_requirements "$tools" pyproject.toml >"$work/requirements.txt"
    build_requirements "$tools" python/torch/pyproject.toml >>"$work/requirements.txt"
    quietly "$work/tools.log" "$tools" -m pip --disable-pip-version-check install -r "$work/requirements.txt"
    touch "$work/.tools"
  fi
  build_wheel halfback . "${core[@]}"
  build_wheel halfback_torch python/torch -C "build-dir=$PWD/$work/torch" -C "cmake.define.HALFBACK_TORCH=$torch" "${split[@]}"
  is_stale "$work/.venv" "$work/wheels" tests/package/requirements.txt || return 0
  say "making the Python environment build/python/venv with the packages"
  quietly "$work/venv.log" python3 -m venv --clear "$venv"
  printf '%s\n' "${torch%/*}" >"$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch.pth"
  quietly "$work/venv.log" "$venv/bin/python" -m pip --disable-pip-version-check install -r tests/package/requirements.txt
  quietly "$work/venv.log" "$venv/bin/python" -m pip --disable-pip-version-check install --no-deps "$work"/wheels/*.whl
  touch "$work/.venv"
}

build_wheel() { # NAME FOLDER [-C SETTING]... SOURCE...
  local name=$1 folder=$2 settings=()
  shift 2
  while [[ $1 == -C ]]; do settings+=("$1" "$2") && shift 2; done
  is_stale "build/python/.$name" "$@" || return 0
  say "building the Python package of $folder"
  rm -f "build/python/wheels/$name"-*.whl
  quietly "build/python/$name.log" build/python/tools/bin/python -m pip --disable-pip-version-check wheel --no-build-isolation \
    --no-deps "${settings[@]}" --wheel-dir build/python/wheels "./$folder"
  touch "build/python/.$name"
}

prepare_packages() {
  install_packages "${package_packages[@]}"
  find_torch
  build_packages
}

demo() {
  local halfback=build/release/cli/halfback text=build/data/kjv.txt out=build/demo
  locked prepare demo release
  cd "$root"
  mkdir -p build/data
  [[ -s $text ]] || bible -f gen1:1-rev22:21 | cut -d ' ' -f 2- >"$text.$$" # a verse a line, without its "Ge1:1 "
  [[ -s $text ]] || mv "$text.$$" "$text"
  rm -rf "$out"
  "$halfback" train --data "$text" --ranks 4 --schedule 1f1b-1 --two-stage on --steps 150 \
    --report "$out" --checkpoint "$out/checkpoint"
  say "a sample of what the model has learned"
  "$halfback" generate --checkpoint "$out/checkpoint" --prompt "In the beginning" --tokens 300
  say "the same steps under four schedules, two-stage backpropagation off and on"
  "$halfback" compare --ranks 4 --rounds 5
  printf '\nreport: %s (trace.json opens in ui.perfetto.dev, the folder in TensorBoard)\n' "$root/$out"
}

# A second call finds all runs done and shows the table and the page again.
study_demo() {
  local file=studies/demo.toml out=build/study-demo
  locked prepare study release
  cd "$root"
  cmp -s "$file" "$out/demo.toml" || rm -rf "$out" # of an earlier release
  mkdir -p "$out"
  cp "$file" "$out/"
  build/release/cli/halfback study "$file" --output "$out"
  printf '\nopen in a browser: %s\n' "$root/$out/study.html"
}

run_tests() { # CTEST-ARGS
  local fuzz=(fuzz)
  [[ $# -eq 0 ]] || fuzz=()
  locked prepare test dev "${fuzz[@]}"
  [[ $# -gt 0 ]] || locked prepare_packages
  cd "$root"
  [[ $# -gt 0 ]] || ctest --preset fuzz -j "$(nproc)"
  ctest --preset dev -j "$(nproc)" "$@"
  [[ $# -eq 0 ]] || return 0
  say "testing the Python packages"
  HALFBACK_PROGRAM=$root/build/dev/cli/halfback build/python/venv/bin/python -m pytest -q -p no:cacheprovider tests/package
}

install_packages_of_python() {
  locked prepare_packages
  printf 'halfback and halfback.torch are in %s\ntheir wheels are in %s\n' "$root/build/python/venv" "$root/build/python/wheels"
}

[[ -z ${HALFBACK_TORCH:-} ]] || HALFBACK_TORCH=$(realpath -m "$HALFBACK_TORCH")
case ${1:-}:${2:-} in
  demo:*) demo ;;
  study:demo) study_demo ;;
  python:*) install_packages_of_python ;;
  test:*) run_tests "${@:2}" ;;
  build: | build:release) locked prepare build release ;;
  build:dev | build:asan | build:tsan | build:fuzz) locked prepare test "$2" ;;
  build:*) fail 2 "no preset is called $2; there are: release dev asan tsan fuzz" ;;
  lint:*)
    locked prepare_lint
    exec "$root/.ci/lint"
    ;;
  clean:*) locked find build -mindepth 1 -maxdepth 1 ! -name .lock -exec rm -rf {} + ;;
  help:*) help ;;
  :*) help >&2 && exit 2 ;;
  *)
    locked prepare build release
    exec "$root/build/release/cli/halfback" "$@"
    ;;
esac
