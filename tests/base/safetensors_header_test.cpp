#include "halfback/base/safetensors_header.h"

#include "halfback/base/error.h"
#include "tests/support/errors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace halfback {
namespace {

constexpr std::string_view kOneFloat = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";

std::string little_endian(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) {
    bytes += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  }
  return bytes;
}

std::string file_of(const std::string& json, std::size_t data_bytes) {
  return little_endian(json.size()) + json + std::string(data_bytes, 'x');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(file, file.size(), "m.safetensors");
}

std::string error_of(const std::string& file) {
  return text_of_thrown<FileError>([&] { parse(file); });
}

TEST(SafetensorsHeaderTest, ReadsTensorsInTheOrderOfTheirBytes) {
  const SafetensorsHeader header = parse(file_of(
      R"({"b":{"dtype":"I64","shape":[],"data_offsets":[12,20]},"__metadata__":{"format":"pt"},)"
      R"("a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},)"
      R"("none":{"data_offsets":[12,12],"shape":[4,0],"dtype":"F64"}}  )",
      20));
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[0], (TensorEntry{"a", "BF16", {2, 3}, 0, 12}));
  EXPECT_EQ(header.tensors[1], (TensorEntry{"none", "F64", {4, 0}, 12, 12}));
  EXPECT_EQ(header.tensors[2], (TensorEntry{"b", "I64", {}, 12, 20}));
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST(SafetensorsHeaderTest, AcceptsAFileWithoutTensors) {
  EXPECT_TRUE(parse(file_of("{}", 0)).tensors.empty());
}

TEST(SafetensorsHeaderTest, ReadsPackedFourBitElements) {
  EXPECT_EQ(parse(file_of(R"({"x":{"dtype":"F4","shape":[6],"data_offsets":[0,3]}})", 3))
                .tensors.front()
                .end,
            3U);
}

TEST(SafetensorsHeaderTest, ReadsBackWhatItWrites) {
  const std::vector<TensorEntry> tensors = {{"layer \"0\"\n\xC3\xA9", "F32", {2, 2}, 0, 16},
                                            {"y", "U8", {3}, 16, 19}};
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"step", "7"}};
  const std::string bytes = write_safetensors_header(tensors, metadata);
  EXPECT_EQ(bytes.size() % 8, 0U);
  const SafetensorsHeader header = parse(bytes + std::string(19, 'x'));
  EXPECT_EQ(header.tensors, tensors);
  EXPECT_EQ(header.metadata, metadata);
  EXPECT_EQ(header.data_begin, bytes.size());
}

TEST(SafetensorsHeaderTest, RefusesToWriteWhatIsNotUtf8) {
  EXPECT_TRUE(contains(text_of_thrown<FileError>([] {
                         write_safetensors_header({}, {{"path", "\xFF"}});
                       }),
                       "cannot be written"));
}

TEST(SafetensorsHeaderTest, ReadsAHundredThousandEntries) {
  std::vector<TensorEntry> tensors;
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    tensors.push_back({fmt::format("t{}", i), "U8", {1}, i, i + 1});
  }
  const std::string bytes = write_safetensors_header(tensors, {});
  const SafetensorsHeader header =
      parse_safetensors_header(bytes, bytes.size() + tensors.size(), "many");
  EXPECT_EQ(header.tensors.size(), tensors.size());
  EXPECT_EQ(header.tensors.back(), tensors.back());
}

TEST(SafetensorsHeaderTest, RefusesLengthsThatCannotBe) {
  EXPECT_TRUE(contains(error_of("1234"), "m.safetensors: the file has 4 bytes"));
  EXPECT_TRUE(contains(error_of(little_endian(std::uint64_t{1} << 63) + "{}"),
                       "the header length is 9223372036854775808 bytes; at most 100000000"));
  EXPECT_TRUE(contains(error_of(little_endian(~std::uint64_t{0}) + "{}"), "18446744073709551615"));
  EXPECT_TRUE(contains(error_of(little_endian(100'000'001) + "{}"), "at most 100000000"));
  EXPECT_TRUE(contains(error_of(little_endian(3) + "{}"), "3 bytes; the file has only 2 after it"));
  EXPECT_TRUE(contains(error_of(little_endian(0)), "expected {"));
}

struct Hostile {
  std::string json;
  std::size_t data_bytes;
  std::string part;  // of the message
};

std::string tensor(const std::string& name, const std::string& value) {
  return fmt::format(R"({{"{}":{}}})", name, value);
}

TEST(SafetensorsHeaderTest, RefusesWhatIsNotAHeader) {
  const std::string value(kOneFloat);
  const std::vector<Hostile> cases = {
      {"[]", 0, "the header begins with \"[]\""},
      {" {}", 0, "expected {"},
      {"{", 0, "not JSON at its byte"},
      {"{\"a\":1e999}", 0, "not JSON"},
      {"{\"a\xFF\":1}", 0, "not JSON"},
      {"{} x", 0, "not JSON"},
      {std::string("{}\0junk", 7), 0, "NUL byte at 2"},
      {tensor("a", "5"), 0, "tensor \"a\" has 5; expected an object"},
      {tensor("a", "null"), 0, "has null"},
      {tensor("a", "[]"), 0, "has a list"},
      {tensor("a", "{}"), 0, "has only []"},
      {"{\"a\":" + std::string(100'000, '['), 0, "has a list"},
      {tensor("a", R"({"dtype":)" + std::string(100'000, '{')), 0, "has an object"},
      {tensor("a", R"({"shape":[[1]]})"), 0, "\"shape\" has a list"},
      {tensor("a", R"({"dtype":7})"), 0, "\"dtype\" has 7; expected a text for dtype"},
      {tensor("a", R"({"dtype":"F32","dtype":"F32"})"), 0, "the key \"dtype\" twice"},
      {tensor("a", R"({"colour":"F32"})"), 0, "the key \"colour\"; expected dtype"},
      {tensor("a", R"({"dtype":"F32","shape":[1]})"), 0, "has only [dtype, shape]"},
      {tensor("a", R"({"shape":[-3]})"), 0, "has -3; expected sizes from 0"},
      {tensor("a", R"({"shape":[1.5]})"), 0, "not whole"},
      {tensor("a", R"({"shape":[9223372036854775808]})"), 0, "has 9223372036854775808"},
      {tensor("a", R"({"data_offsets":[0]})"), 0, "has 1 of them; expected two offsets"},
      {tensor("a", R"({"data_offsets":[0,1,2]})"), 0, "has 2; expected two offsets"},
      {tensor("__metadata__", R"({"step":3})"), 0, "__metadata__, \"step\" has 3; expected a text"},
      {tensor("__metadata__", R"({"a":"1","a":"2"})"), 0, "the key \"a\" twice"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "__metadata__ comes twice"},
      {"{\"a\":" + value + ",\"a\":" + value + "}", 4, "tensor \"a\" comes twice"},
  };
  for (const Hostile& hostile : cases) {
    const std::string text = error_of(file_of(hostile.json, hostile.data_bytes));
    EXPECT_TRUE(contains(text, hostile.part)) << text;
    EXPECT_EQ(text.rfind("m.safetensors: ", 0), 0U) << text;
    EXPECT_LT(text.size(), 600U) << text;
  }
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return fmt::format(R"({{"dtype":"{}","shape":[{}],"data_offsets":[{}]}})", dtype, shape, offsets);
}

TEST(SafetensorsHeaderTest, RefusesEntriesThatDoNotAgree) {
  const std::string value(kOneFloat);
  const std::vector<Hostile> cases = {
      {tensor("a", entry("F33", "1", "0,4")), 4,
       "tensor \"a\" has the dtype \"F33\"; known are BOOL, U8"},
      {tensor("a", entry("F32", "2", "0,4")), 4, "[0, 4]; F32 [2] takes 64 bits"},
      {tensor("a", entry("F32", "1", "4,0")), 4, "[4, 0]"},
      {tensor("a", entry("F4", "3", "0,2")), 2, "F4 [3] takes 12 bits"},
      {tensor("a", entry("F32", "4294967296,4294967296", "0,0")), 0, "must fit into 64 bits"},
      {tensor("a", entry("F32", "0,4294967296,4294967296", "0,0")), 0, "must fit into 64 bits"},
      {"{\"a\":" + value + ",\"b\":" + value + "}", 4, "tensors must not overlap"},
      {"{\"a\":" + value + ",\"b\":" + entry("U8", "2", "3,5") + "}", 5, "must not overlap"},
      {"{\"a\":" + value + ",\"b\":" + entry("U8", "1", "5,6") + "}", 6,
       "tensor \"b\" begins at byte 5, the one before ends at 4; there must be no hole"},
      {tensor("a", entry("U8", "1", "1,2")), 2, "there must be no hole"},
      {tensor("a", value), 3, "4 bytes of data, the file has 3; the file is cut short"},
      {tensor("a", value), 5, "nothing may follow the last tensor"},
      {tensor("a", entry("U8", "9223372036854775807", "0,9223372036854775807")), 8,
       "must fit into 64 bits"},
      {tensor("a", entry("U8", "1152921504606846976", "0,1152921504606846976")), 8, "cut short"},
  };
  for (const Hostile& hostile : cases) {
    const std::string text = error_of(file_of(hostile.json, hostile.data_bytes));
    EXPECT_TRUE(contains(text, hostile.part)) << text;
  }
}

TEST(SafetensorsHeaderTest, RefusesMoreThan64Dimensions) {
  std::string shape = "1";
  for (int i = 1; i < 64; ++i) {
    shape += ",1";
  }
  EXPECT_EQ(parse(file_of(tensor("a", entry("U8", shape, "0,1")), 1)).tensors.front().shape.size(),
            64U);
  EXPECT_TRUE(contains(error_of(file_of(tensor("a", entry("U8", shape + ",1", "0,1")), 1)),
                       "at most 64 of them"));
}

TEST(SafetensorsHeaderTest, CutsAndEscapesHostileNames) {
  const std::string text =
      error_of(file_of(tensor(std::string(1'000'000, 'n') + "\\u001b[2J", "5"), 0));
  EXPECT_LT(text.size(), 400U);
  EXPECT_TRUE(contains(error_of(file_of(tensor("\\u001b[2J", "5"), 0)), "\"\\u001b[2J\""));
}

}  // namespace
}  // namespace halfback
