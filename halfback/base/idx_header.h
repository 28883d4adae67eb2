// The header of an IDX file: arrays of bytes, the format of MNIST and similar data.
//
// Layout: two zero bytes, a type (8: unsigned byte), the number of dimensions, each size as u32
// big-endian, then the data, row-major. The input comes from outside, so everything is checked.
// Source: LeCun, Cortes, Burges, the MNIST database's description of its format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halfback {

inline constexpr std::size_t kMaxIdxDimensions = 8;

struct IdxHeader {
  std::vector<std::uint32_t> shape;
  std::uint64_t data_begin = 0;  // bytes from the start of the file
  std::uint64_t num_bytes = 0;   // of data: the product of the sizes
};

// Reads the header of a whole file. Throws FileError beginning with `source` for a file that is not
// an IDX file of unsigned bytes, and for one that is shorter or longer than its sizes say.
IdxHeader parse_idx_header(std::string_view file, const std::string& source);

}  // namespace halfback
