// Sizes in a model's config.json.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace halfback::detail {

// Returns the whole number under `key`; `otherwise` stands for one that is not there or null.
// Throws FileError beginning with `source` when there is none, or something else.
std::int64_t read_size(const nlohmann::json& json,
                       const std::string& key,
                       const std::string& source,
                       std::optional<std::int64_t> otherwise = std::nullopt);

}  // namespace halfback::detail
