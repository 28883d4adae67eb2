// For safetensors_reader.py: `exchange_safetensors copy IN OUT` reads a file and writes its tensors
// again; `exchange_safetensors shard IN DIRECTORY BYTES` writes them as shards.

#include "halfback/checkpoint/safetensors.h"
#include "halfback/checkpoint/safetensors_write.h"

#include <exception>
#include <iostream>
#include <string>
#include <vector>

namespace {

std::vector<halfback::NamedTensor> all_of(const halfback::SafetensorsFile& file) {
  std::vector<halfback::NamedTensor> tensors;
  for (const std::string& name : file.names()) {
    tensors.push_back({name, file.get(name)});
  }
  return tensors;
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 3 && arguments[0] == "copy") {
    const halfback::SafetensorsFile file(arguments[1]);
    halfback::save_safetensors(arguments[2], all_of(file), file.metadata());
    return 0;
  }
  if (arguments.size() == 4 && arguments[0] == "shard") {
    const halfback::SafetensorsFile file(arguments[1]);
    halfback::save_sharded(arguments[2], "model", all_of(file), std::stoull(arguments[3]));
    return 0;
  }
  std::cerr << "usage: exchange_safetensors copy IN OUT | shard IN DIRECTORY BYTES\n";
  return 2;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
