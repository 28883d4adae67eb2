// Costs and bytes as JSON, measured or assumed:
//
//   {"stages": [{"forward": 1, "input": 1, "weight": 1, "full": 2, "update": 0, "reduce": 0,
//                "activation_bytes": 4096, "gradient_bytes": 4096, "reduce_bytes": 4096,
//                "memory": {"until_input": 1, "until_weight": 1, "gradients": 1,
//                           "activation_message": 1, "gradient_message": 1,
//                           "parameters": 1, "parameter_gradients": 1, "optimizer": 2}}, ...],
//    "latency": 0, "bandwidth": 1e9, "occupies_sender": false,
//    "reduce_latency": 0, "reduce_bandwidth": 1e8,
//    "links": [{"from": 0, "to": 1, "latency": 1, "bandwidth": 1e8}, ...],
//    "rank_speed": [1, 0.5, ...],
//    "updates": "synchronized" or "per_rank"}
//
// with one entry for all stages, or one for each. It needs stages with forward, input and weight;
// the rest has the defaults of CostModel, own_input too. Memory is given for all stages or for
// none; parameters, parameter_gradients (default: same as parameters) and optimizer are optional. A
// stage in front of the last may have a local head: "head": {"until_input": 1, "until_weight": 1,
// "gradients": 1} is its part of these bytes. Messages and reductions without their own bytes take
// those of the memory.
//
// A memory file has only the bytes: {"stages": [{"until_input": 1, ...}, ...]}.
#pragma once

#include "halfback/simulate/cost_model.h"
#include "halfback/simulate/memory_model.h"

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace halfback {

struct CostFile {
  CostModel costs;
  std::optional<MemoryModel> memory = std::nullopt;
};

// Read and write the JSON form. Reading throws FileError with source_name for text that is not
// JSON, and ConfigError for unknown keys and values of the wrong kind.
CostFile parse_cost_file(std::string_view json, const std::string& source_name);
std::string to_cost_file(const CostFile& file);

// Reads the JSON of a memory file. Throws as parse_cost_file().
MemoryModel parse_memory_file(std::string_view json, const std::string& source_name);

// Gives messages and reductions without bytes those of the memory. Throws ConfigError if the
// numbers of stages differ.
void take_bytes(CostModel& costs, const MemoryModel& memory);

// Read and write files. They throw FileError when that fails.
CostFile load_cost_file(const std::filesystem::path& path);
MemoryModel load_memory_file(const std::filesystem::path& path);
void save_cost_file(const CostFile& file, const std::filesystem::path& path);

}  // namespace halfback
