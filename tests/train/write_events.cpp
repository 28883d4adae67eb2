// Writes scalars of steps for tensorboard_reader.py, of all 5000 or of those after RESUMED_STEP:
// write_events DIRECTORY SCALE [RESUMED_STEP]

#include "halfback/train/tensorboard.h"

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <optional>

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::cerr << "usage: write_events DIRECTORY SCALE [RESUMED_STEP]\n";
    return 2;
  }
  const double scale = std::atof(argv[2]);
  const auto resumed = argc > 3 ? std::optional<std::int64_t>(std::atoll(argv[3])) : std::nullopt;
  halfback::EventWriter writer(argv[1], resumed);
  for (std::int64_t step = resumed.value_or(0) + 1; step <= 5000; ++step) {
    writer.scalar("train/loss", scale / static_cast<double>(step), step);
  }
  writer.scalar("far", -scale, std::int64_t{1} << 40);
  writer.flush();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
