// Labelled images as MNIST has them, made up: of each class a bright row of its own.
#pragma once

#include "tests/support/temporary_directory.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace halfback::testing {

// Returns the header of an IDX file of bytes.
inline std::string idx_header(const std::vector<std::uint32_t>& shape) {
  std::string header = {0, 0, 8, static_cast<char>(shape.size())};
  for (const std::uint32_t size : shape) {
    for (const int shift : {24, 16, 8, 0}) {
      header += static_cast<char>(static_cast<unsigned char>(size >> shift));
    }
  }
  return header;
}

// Writes a training and a test set of `size` x `size` pixels in `num_classes` classes.
inline void write_idx_images(const std::filesystem::path& directory,
                             std::uint32_t size,
                             std::uint32_t num_classes) {
  std::filesystem::create_directories(directory);
  for (const auto& [prefix, count] : {std::pair("train", 64U), std::pair("t10k", 24U)}) {
    std::string images = idx_header({count, size, size});
    std::string labels = idx_header({count});
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t label = i % num_classes;
      labels += static_cast<char>(label);
      for (std::uint32_t pixel = 0; pixel < size * size; ++pixel) {
        const std::uint32_t noise = (i * 31 + pixel * 17) % 61;
        images += static_cast<char>(noise + (pixel / size == label ? 150 : 0));
      }
    }
    spit(directory / (std::string(prefix) + "-images-idx3-ubyte"), images);
    spit(directory / (std::string(prefix) + "-labels-idx1-ubyte"), labels);
  }
}

}  // namespace halfback::testing
