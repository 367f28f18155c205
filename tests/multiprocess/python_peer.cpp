// SPDX-License-Identifier: Apache-2.0
// The C++ side of python_test.py: python_peer NAME COMMAND [ARGUMENT], on a dict that Python made, or that it
// makes for Python. Prints JSON.
#include <iostream>
#include <shm/json.hpp>
#include <string>
#include <variant>

using nlohmann::json;
using mixed = shm::dict<std::variant<std::int64_t, std::string>, json>;

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string name = argv[1], command = argv[2], argument = argc > 3 ? argv[3] : "";
  try {
    if (command == "make") {
      const shm::json_dict made{shm::create_only, name, json::parse(argument), shm::options{}.unlink(shm::never)};
    } else if (command == "nested") { // all of it, as C++ sees it
      std::cout << json(shm::json_dict{shm::open_only, name}) << "\n";
    } else if (command == "plain") {
      std::cout << json(shm::dict<std::string, json>{shm::open_only, name}) << "\n";
    } else if (command == "text") {
      std::cout << json(shm::dict<std::string, json, shm::json_text<json>>{shm::open_only, name}) << "\n";
    } else if (command == "mixed") {
      auto out = json::object();
      for (const auto& [key, value] : mixed{shm::open_only, name})
        out[std::holds_alternative<std::string>(key) ? std::get<1>(key) : std::to_string(std::get<0>(key))] = value;
      std::cout << out << "\n";
    } else if (command == "merge") {
      shm::json_dict{shm::open_only, name}.merge(json::parse(argument));
    } else if (command == "count") { // with Python, at the same time
      shm::json_dict d{shm::open_only, name};
      for (int i = std::stoi(argument); i > 0; --i) {
        const shm::guard lock{d};
        const int n = d["locked"]["n"].get<int>();
        d["locked"]["n"] = n + 1;
      }
    } else {
      return 2;
    }
  } catch (const std::exception& e) {
    std::cerr << e.what() << "\n";
    return 1;
  }
  return 0;
}
