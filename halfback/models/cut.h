// How the blocks of a model are distributed over the stages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace halfback {

// Returns how many of the blocks each stage gets: equal numbers, with one more for the first stages
// if there is a remainder. Throws ConfigError if there are fewer blocks than stages.
std::vector<int> equal_cut(int num_blocks, int num_stages);

// Reads an explicit cut such as "3,2,3"; an empty text means the equal cut. Throws ConfigError
// unless it has num_stages positive parts that add up to num_blocks.
struct CutShape {
  int num_blocks = 0;
  int num_stages = 0;
};
std::vector<int> parse_cut(const std::string& text, const CutShape& shape);

// Returns the first block of each stage, and the number of blocks after the last.
std::vector<int> first_blocks(const std::vector<int>& cut);

// Returns the stage of each block. The cut must add up to num_blocks.
std::vector<std::size_t> stages_of_blocks(const std::vector<int>& cut, std::int64_t num_blocks);

}  // namespace halfback
