// Headers that somebody made to do harm, or by mistake: each is refused, with the place and the reason.
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/idx_files.hpp"
#include "tests/support/weight_files.hpp"

using namespace tenon;
using test::foreign;
using test::length_of;
using test::refusal;
using test::TempFolder;
using test::write_file;

TEST_CASE("hostile headers are refused with their place", "[io]") {
  const TempFolder folder;
  const std::string path = folder / "bad";
  const auto tensor = [](const std::string& name, const std::string& shape, const std::string& offsets,
                         const std::string& dtype = "F32") {
    return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const std::string x = tensor("x", "[1]", "[0,4]"), four(4, 'p'), eight(8, 'p');
  std::string many = "{";
  for (int i = 0; i < 4097; ++i) many += (i == 0 ? "" : ",") + tensor("t" + std::to_string(i), "[0]", "[0,0]");
  many += "}";
  struct Case {
    std::string bytes, message;
  };
  const std::vector<Case> cases = {
      {"", "byte 0: expected 8 bytes"},
      {length_of(0), "byte 0: expected a header of 2 to 1048576 bytes, found 0"},
      {length_of(0) + "{}", "found 0"},
      {length_of(std::uint64_t{1} << 63) + "{}", "found 9223372036854775808"},
      {length_of(~std::uint64_t{0}) + "{}", "found 18446744073709551615"},
      {length_of((1u << 20) + 1) + std::string((1u << 20) + 1, ' '), "found 1048577"},
      {length_of(3) + "{}", "at most 2 bytes in this file, found 3"},
      {foreign("  {}", ""), "byte 8: expected the header to begin with '{'"},
      {foreign("\xef\xbb\xbf{}", ""), "begin with '{'"},
      {foreign("[]", ""), "begin with '{'"},
      {foreign("{}x", ""), "spaces after it"},
      {foreign("{}\n", ""), "spaces after it"},
      {foreign(std::string("{}\0}", 4), ""), "spaces after it"},
      {foreign("{}{}", ""), "valid JSON"},
      {foreign("{" + x + ",}", four), "valid JSON"},
      {foreign("{/*c*/}", ""), "valid JSON"},
      {foreign("{\"\xff\":{}}", ""), "valid JSON in UTF-8"},
      {foreign("{\"\xc0\xaf\":{}}", ""), "valid JSON in UTF-8"},
      {foreign("{\"__metadata__\":{\"a\":\"\xed\xa0\x80\"}}", ""), "valid JSON in UTF-8"},
      {foreign("{" + x + "," + x + "}", four), "found 'x' again"},
      {foreign(R"({"__metadata__":{},"__metadata__":{}})", ""), "found '__metadata__' again"},
      {foreign(R"({"__metadata__":{"a":"1","a":"1"}})", ""), "found 'a' again"},
      {foreign(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", four), "found 'dtype' again"},
      {foreign(R"({"x":{"dtype":"F32","shape":[1]}})", four),
       "tensor 'x': expected the field data_offsets, found none"},
      {foreign(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"strides":[1]}})", four), "found 'strides'"},
      {foreign(R"({"__metadata__":{"a":1}})", ""), "expected a string for 'a' in __metadata__, found a number"},
      {foreign(R"({"__metadata__":{"a":{"b":"c"}}})", ""), "found an object"},
      {foreign(R"({"__metadata__":null})", ""), "found null"},
      {foreign(R"({"x":7})", ""), "expected an object for 'x', found a number"},
      {foreign("{" + tensor("x", "[[1]]", "[0,4]") + "}", four), "found an array"},
      {foreign("{" + tensor("x", "{}", "[0,4]") + "}", four), "found an object"},
      {foreign("{" + tensor("x", "[1.0]", "[0,4]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[1e0]", "[0,4]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[-1]", "[0,4]") + "}", four), "a negative number"},
      {foreign("{" + tensor("x", "[-0]", "[0,4]") + "}", four), "a negative number"},
      {foreign("{" + tensor("x", "[true]", "[0,4]") + "}", four), "a boolean"},
      {foreign("{" + tensor("x", "[\"1\"]", "[0,4]") + "}", four), "a string"},
      {foreign("{" + tensor("x", "[01]", "[0,4]") + "}", four), "valid JSON"},
      {foreign("{" + tensor("x", "[9007199254740992]", "[0,4]") + "}", four), "below 2^53, found 9007199254740992"},
      {foreign("{" + tensor("x", "[1]", "[0,9007199254740992]") + "}", four), "below 2^53"},
      {foreign("{" + tensor("x", "[1]", "[0,18446744073709551616]") + "}", four), "not a plain integer"},
      {foreign("{" + tensor("x", "[4294967296,4294967296]", "[0,4]") + "}", four), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[2147483648,2147483648,4]", "[0,0]") + "}", ""), "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[4503599627370496,4503599627370496,0]", "[0,0]") + "}", ""),
       "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[0,4503599627370496,4503599627370496]", "[0,0]") + "}", ""),
       "a shape of fewer than 2^53 bytes"},
      {foreign("{" + tensor("x", "[1,1,1,1,1,1,1,1,1]", "[0,4]") + "}", four), "at most 8 extents"},
      {foreign("{" + tensor("x", "[1]", "[0,4,4]") + "}", four), "at most 2 data_offsets"},
      {foreign("{" + tensor("x", "[1]", "[4]") + "}", four), "two data_offsets, found 1"},
      {foreign("{" + tensor("x", "[1]", "[4,0]") + "}", four), "data_offsets that ascend, found 4 and 0"},
      {foreign("{" + tensor("x", "[2]", "[0,4]") + "}", four), "8 bytes for F32(2), found 4"},
      {foreign("{" + x + "," + tensor("y", "[1]", "[0,4]") + "}", four),
       "tensor 'y': expected data at offset 4, found 0 (an overlap)"},
      {foreign("{" + x + "," + tensor("y", "[1]", "[2,6]") + "}", eight), "an overlap"},
      {foreign("{" + tensor("x", "[1]", "[4,8]") + "}", eight),
       "tensor 'x': expected data at offset 0, found 4 (a hole)"},
      {foreign("{" + x + "," + tensor("y", "[0]", "[2,2]") + "}", four),
       "tensor 'y': expected data at offset 4, found 2"},
      {foreign("{" + x + "," + tensor("y", "[0]", "[5,5]") + "}", four), "a hole"},
      {foreign("{" + x + "}", eight), "found 8"},
      {foreign("{" + x + "}", "pp"), "expected the file to end after 4 bytes of tensors, found 2"},
      {foreign("{}", "PK\x03\x04 zip tail"), "expected the file to end after 0 bytes"},
      {foreign("{" + tensor("a b", "[1]", "[0,4]") + "}", four), "found 'a b'"},
      {foreign("{" + tensor("\\u0000", "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign("{" + tensor("\\n", "[1]", "[0,4]") + "}", four), "found '?'"},
      {foreign("{" + tensor("", "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign("{" + tensor(std::string(256, 'n'), "[1]", "[0,4]") + "}", four), "a name of at most 255 bytes"},
      {foreign(many, ""), "at most 4096 tensors"},
      {foreign("{\"x\":" + std::string(100000, '[') + "}", ""), "expected an object for 'x', found an array"},
      {foreign("{\"x\":" + std::string(100000, '{') + "}", ""), "valid JSON"},
      {foreign(R"({"__metadata__":{"format":"tenon"}})", ""), "expected the entry 'header_crc', found none"},
      {foreign(R"({"__metadata__":{"header_crc":"00000000"}})", ""), "expected a header with CRC 00000000"},
      {foreign(R"({"__metadata__":{"crc32c:gone":"00000000"}})", ""), "expected the entry 'header_crc', found none"},
  };
  for (const Case& c : cases) {
    write_file(path, c.bytes);
    const std::string message = refusal(path);
    INFO(message);
    INFO(c.message);
    CHECK(message.find(c.message) != std::string::npos);
    CHECK(message.size() < 700);
  }
  write_file(path, foreign("{" + tensor("z", "[0]", "[0,0]") + "," + x + "}", four));
  CHECK(read_safetensors(path).tensors.size() == 2);
}
