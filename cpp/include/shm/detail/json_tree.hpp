// SPDX-License-Identifier: Apache-2.0
// JSON values in nested dicts: objects are dicts, everything else (arrays too) is a leaf in CBOR.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "../serializers_json.hpp"
#include "../watch.hpp"
#include "checked.hpp"
#include "json_leaf.hpp"
#include "tree.hpp"

SHM_DETAIL_BEGIN

// Where leaves are told that cannot be read: they become discarded values, and the rest of the document is read.
struct json_losses {
  const shmd_dict* d;
  std::vector<error>* errors; // nullptr: nobody asks
  std::string path;

  nlohmann::json add(const char* problem, const shmd_entry& e) {
    if (errors != nullptr) {
      const auto key = text_of_key<std::string>(e.key, e.key_size);
      errors->emplace_back(errc::corrupt, std::string("dict '") + shmd_name(d) + "': " + problem + " (at " +
                                              shortened(path + key) + ")");
    }
    return nlohmann::json(nlohmann::json::value_t::discarded);
  }
};

inline nlohmann::json load_json(shmd_snapshot* s, shmd_node node, json_losses& losses, int most = json_depth) {
  auto out = nlohmann::json::object();
  for (cursor c(s, node); c.next();) {
    const shmd_entry& e = c.entry();
    auto& to = out[std::string(static_cast<const char*>(e.key), e.key_size)];
    if (!e.is_dict) {
      to = from_leaf_or_discarded(e.value, e.value_size);
      if (to.is_discarded()) to = losses.add(not_cbor, e);
    } else if (most == 1) {
      to = losses.add("JSON dicts are nested too deep to read", e);
    } else if (losses.errors == nullptr) {
      to = load_json(s, e.node, losses, most - 1);
    } else {
      const auto above = losses.path.size();
      describe_key<std::string>(losses.path, e.key, e.key_size);
      to = load_json(s, e.node, losses, most - 1);
      losses.path.resize(above);
    }
  }
  return out;
}

// The leaf or object under a key, as a snapshot shows it. 0, SHMD_NOT_FOUND, or an error.
inline int load_json_at(shmd_snapshot* s, shmd_node node, const encoded_key<std::string>& key, json_losses& losses,
                        std::optional<nlohmann::json>& out) {
  shmd_node child;
  const int result = shmd_snapshot_node(s, node, key.data(), key.size(), &child);
  if (result == 0) {
    if (losses.errors != nullptr) describe_key<std::string>(losses.path, key.data(), key.size());
    out = load_json(s, child, losses);
  }
  if (result != SHMD_ERR_NOT_A_DICT) return result;
  return fetch<nlohmann::json>(
      [&](void* to, std::size_t capacity, std::size_t* size) {
        return shmd_snapshot_get(s, node, key.data(), key.size(), to, capacity, size);
      },
      out);
}

// What happens to a dict that an object is stored to: replaced, or merged with it.
enum class json_store { replace, merge };

inline int store_json(shmd_dict* d, shmd_node node, const std::string& key, const nlohmann::json& value,
                      json_store how);

inline int store_json_object(shmd_dict* d, shmd_node node, const nlohmann::json& object, json_store how) {
  for (const auto& [key, value] : object.items()) {
    const int result = store_json(d, node, key, value, how);
    if (result < 0) return result;
  }
  return 0;
}

// The value is one that check_storable() takes. Throws as store_under() does.
inline int store_json(shmd_dict* d, shmd_node node, const std::string& key, const nlohmann::json& value,
                      json_store how) {
  try {
    if (!value.is_object()) {
      const auto bytes = nlohmann::json::to_cbor(value);
      const int result = shmd_put(d, node, key.data(), key.size(), bytes.data(), bytes.size(), 0);
      if (result < 0) throw_of_core(result, d, {});
      return result;
    }
    shmd_node child;
    int result = SHMD_NOT_FOUND;
    if (how == json_store::merge) result = shmd_node_open(d, node, key.data(), key.size(), 0, &child);
    if (result != 0) result = shmd_node_open(d, node, key.data(), key.size(), SHMD_NODE_REPLACE, &child);
    if (result < 0) throw_of_core(result, d, {});
    return store_json_object(d, child, value, how);
  } catch (const unplaced& e) {
    throw e.below(text_of_key<std::string>(key.data(), key.size()));
  }
}

// Numbers by numbers, strings by strings; from 0 if there is nothing.
template <class Op, class T>
void json_apply(std::optional<nlohmann::json>& j, const T& operand) {
  if (!j) j = std::is_arithmetic_v<T> ? nlohmann::json(0) : nlohmann::json("");
  if constexpr (std::is_arithmetic_v<T>) {
    static_assert(!std::is_same_v<T, bool>, "shm: no arithmetic with bool");
    if (j->is_number_float() || (j->is_number() && std::is_floating_point_v<T>)) {
      auto v = j->get<double>();
      Op::apply(v, operand);
      return static_cast<void>(*j = v);
    }
    if (j->is_number_unsigned() && j->get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
      const auto before = j->get<std::uint64_t>();
      auto v = before;
      Op::apply(v, operand);
      if ((v < before) != (std::is_same_v<Op, add> ? operand < 0 : operand > 0) && operand != 0)
        throw_overflow<std::uint64_t>();
      return static_cast<void>(*j = v);
    }
    if (j->is_number_integer()) {
      auto v = j->get<std::int64_t>();
      Op::apply(v, operand);
      return static_cast<void>(*j = v);
    }
  } else if (j->is_string() && std::is_same_v<Op, add>) {
    j->get_ref<std::string&>() += operand;
    return;
  }
  throw unplaced(errc::invalid_argument, std::string("no such arithmetic on JSON of type ") + j->type_name());
}

// A leaf is nlohmann::json in iterations and look-ups of json_dict; an object comes with all that is in it. Bytes that are no
// JSON are a discarded value in iterations, documents, watchers and replicas.
template <>
struct tree<json_dict> {
  static nlohmann::json load(shmd_snapshot* s, const shmd_entry& e) {
    json_losses losses{nullptr, nullptr, {}};
    return e.is_dict ? load_json(s, e.node, losses) : from_leaf_or_discarded(e.value, e.value_size);
  }
};
template <>
struct local<json_dict> {
  using type = nlohmann::json;
};

// The same in watchers and replicas. A missing dict, and a leaf in its place, is an empty object.
template <>
struct leaf<json_dict> {
  using type = nlohmann::json;
  static type decode(const void* data, std::size_t size) { return from_leaf_or_discarded(data, size); }
};
template <>
struct whole<std::string, json_dict> {
  using local_type = nlohmann::json;

  static local_type take(const watched_place& place, std::uint64_t& position) {
    return read_whole(place.d, [&] {
      const snapshot_state s(place.d, place.owner);
      position = shmd_snapshot_position(s.get());
      shmd_node node;
      const int result = place.find(s.get(), &node);
      if (result == SHMD_NOT_FOUND || result == SHMD_ERR_NOT_A_DICT) return nlohmann::json::object();
      if (result < 0) throw_at(result, place);
      json_losses losses{place.d, nullptr, {}};
      return load_json(s.get(), node, losses);
    });
  }
  static local_type load(const watched_place& place, std::uint64_t& position) { return take(place, position); }
  static bool apply(local_type& to, change<std::string, json_dict>& c) {
    if (c.kind == change_kind::clear) return to = nlohmann::json::object(), true;
    nlohmann::json* at = &to;
    for (const auto& key : c.path) {
      const auto next = at->find(key);
      if (next != at->end() && next->is_discarded()) return true; // inside of what cannot be read
      if (next == at->end() || !next->is_object()) return false;
      at = &*next;
    }
    if (c.kind == change_kind::erase)
      at->erase(c.key);
    else
      (*at)[c.key] = c.kind != change_kind::dict ? std::move(*c.value)
                     : c.path.size() + 1 < static_cast<std::size_t>(json_depth)
                         ? nlohmann::json::object()
                         : nlohmann::json(nlohmann::json::value_t::discarded); // too deep, as load_json() has it
    return true;
  }
};

SHM_DETAIL_END
