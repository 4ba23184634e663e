#!/usr/bin/env bash
# Where there is no MPI one process trains as ever, and one of several says what is missing.
# Usage: without_mpi.sh TESSERA WRITE_MODEL
. "$(dirname "$0")/jobs.sh"
cp "$tessera" "$work/tessera" # without what lies beside it
tessera=$work/tessera log=$work/log
! ldd "$tessera" | grep -i 'libmpi\|nccl' || die "the program itself needs MPI or NCCL"
"$tessera" doctor | grep -q '^ranks .*MPI cannot be loaded: ' || die "doctor does not say it"
"$tessera" train "$config" max_steps=1 output_dir="$work/alone" 2>"$log" ||
  die "one process does not train"
! OMPI_COMM_WORLD_SIZE=2 "$tessera" train "$config" 2>"$log" || die "one of two trains"
[ "$(wc -l <"$log")" = 1 ] || die "not one line"
has_line '^tessera: MPI cannot be loaded: .*lib/tessera/tessera_mpi.so' || die "does not say what"
