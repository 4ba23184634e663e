#include "parallel/mpi_operation.h"

#include <array>

namespace tessera::parallel {

MpiOperation::Counted MpiOperation::counted(size_t bytes, size_t largest) {
  if (bytes <= largest) return {int(bytes), MPI_BYTE};
  const size_t blocks = bytes / largest, tail = bytes % largest;
  MPI_Datatype block, body, whole;
  MPI_Type_contiguous(int(largest), MPI_BYTE, &block);
  MPI_Type_contiguous(int(blocks), block, &body);
  const std::array<int, 2> lengths{1, int(tail)};
  const std::array<MPI_Aint, 2> begins{0, MPI_Aint(blocks * largest)};
  const std::array<MPI_Datatype, 2> parts{body, MPI_BYTE};
  MPI_Type_create_struct(2, lengths.data(), begins.data(), parts.data(), &whole);
  MPI_Type_commit(&whole);
  MPI_Type_free(&block);
  MPI_Type_free(&body);
  types.push_back(whole);
  return {1, whole};
}

}  // namespace tessera::parallel
