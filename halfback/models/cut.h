// How the blocks of a model are dealt out to stages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// Returns how many of the blocks each stage gets: equal, or with the remainder spread over the
// first stages. Throws ConfigError when there are fewer blocks than stages.
std::vector<int> equal_cut(int num_blocks, int num_stages);

// Reads an explicit cut such as "3,2,3"; an empty text asks for the equal one. Throws ConfigError
// when it does not have num_stages positive parts that add up to num_blocks.
struct CutShape {
  int num_blocks = 0;
  int num_stages = 0;
};
std::vector<int> parse_cut(const std::string& text, const CutShape& shape);

// Returns the stage of each block. The cut has to add up to num_blocks.
std::vector<std::size_t> stages_of_blocks(const std::vector<int>& cut, std::int64_t num_blocks);

}  // namespace halfback
