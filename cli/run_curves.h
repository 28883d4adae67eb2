// What the page of a run draws over its steps: loss, learning rate and speed.
#pragma once

#include "halfback/timeline/report/curve.h"

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace halfback::cli {

// Takes the lines of metrics.jsonl, in bounded memory.
class RunCurves {
 public:
  // `item_name` is what speed is counted in: "tokens".
  explicit RunCurves(const std::string& item_name);

  // Null numbers were not finite; missing ones have no point.
  void add(const nlohmann::json& line);
  // Adds the lines of a file that a run continues. Throws FileError.
  void add_file(const std::filesystem::path& path);
  // Returns the charts: "Loss", "Learning rate" and "Speed", and one of all losses if there are
  // some inside the model.
  const std::vector<Chart>& charts() const { return charts_; }

 private:
  void add_losses(std::int64_t step, const nlohmann::json& losses);

  std::string speed_key_;
  std::vector<Chart> charts_;
};

}  // namespace halfback::cli
