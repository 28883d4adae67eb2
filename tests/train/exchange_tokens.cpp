// For tokenizers_agree.py: prints what a tokenizer makes of texts, which stand in a file, each
// behind a line with its length: its tokens, and what they decode to in digits. The first line has
// what stands in front of a text and behind it, the second the mask.
#include "halfback/base/error.h"
#include "halfback/base/file.h"
#include "halfback/base/text.h"
#include "halfback/data/tokens/tokenizer_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <iostream>
#include <string>
#include <string_view>

namespace {

using halfback::Tokenizer;

std::string decoded(const Tokenizer& tokenizer, const std::vector<std::int32_t>& tokens) {
  const auto decoder = tokenizer.decoder();
  std::string text;
  for (const std::int32_t token : tokens) {
    text += decoder->add(token);
  }
  return text + decoder->finish();
}

void print_texts(const Tokenizer& tokenizer, std::string_view texts) {
  while (!texts.empty()) {
    const std::size_t line = texts.find('\n');
    const auto length = static_cast<std::size_t>(*halfback::parse_integer(texts.substr(0, line)));
    const auto tokens = tokenizer.encode(texts.substr(line + 1, length));
    const std::string text = decoded(tokenizer, tokens);
    std::cout << fmt::format(
        "{}\n{:02x}\n", fmt::join(tokens, " "),
        fmt::join(std::basic_string_view<unsigned char>(
                      reinterpret_cast<const unsigned char*>(text.data()), text.size()),
                  ""));
    texts.remove_prefix(line + 1 + length);
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: exchange_tokens TOKENIZER TEXTS\n";
    return 2;
  }
  const halfback::TokenizerPointer tokenizer = halfback::load_tokenizer_of(argv[1]);
  std::cout << fmt::format("{}|{}\n{}\n", fmt::join(tokenizer->prefix(), " "),
                           fmt::join(tokenizer->suffix(), " "), tokenizer->mask_token());
  print_texts(*tokenizer, halfback::read_file(argv[2]));
  return 0;
} catch (const halfback::Error& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
