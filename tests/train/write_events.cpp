// Writes a few scalars for tensorboard_reader.py: write_events DIRECTORY

#include "halfback/train/tensorboard.h"

#include <cstdint>
#include <exception>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: write_events DIRECTORY\n";
    return 2;
  }
  halfback::EventWriter writer(argv[1]);
  for (std::int64_t step = 0; step < 5000; ++step) {
    writer.scalar("train/loss", 4.0 / static_cast<double>(step + 1), step);
  }
  writer.scalar("far", -1.5, std::int64_t{1} << 40);
  writer.flush();
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
