// SPDX-License-Identifier: Apache-2.0
// Redis through hiredis over a Unix socket. Two levels are a Redis hash per group; counters are keys of their own, because
// Redis adds to decimal text only.
#pragma once

#include <hiredis/hiredis.h>

#include <memory>

#include "bytes.hpp"

namespace bench {

template <class K, class V>
class redis_client {
 protected:
  static constexpr bool nested = std::is_same_v<K, path>;
  using reply = std::unique_ptr<redisReply, void (*)(void*)>;

 public:
  static void remove(const config& c) {
    if (c.redis.empty()) return;
    redisContext* context = redisConnectUnix(c.redis.c_str());
    if (context != nullptr && context->err == 0) freeReplyObject(redisCommand(context, "FLUSHALL"));
    if (context != nullptr) redisFree(context);
  }

  redis_client(const config& c, role r) : context_(redisConnectUnix(c.redis.c_str()), redisFree) {
    if (context_ == nullptr || context_->err != 0)
      throw std::runtime_error("redis: cannot connect to '" + c.redis + "'");
    if (r == role::create) take(redisCommand(context_.get(), "FLUSHALL"));
  }

  void load(argument_t<K> key, const V& value) {
    append_put(key, value);
    if (++pending_ == 1000) loaded();
  }
  void loaded() {
    for (; pending_ > 0; --pending_) next();
  }
  std::size_t memory() const {
    const auto info = take(redisCommand(context_.get(), "INFO memory"));
    const std::string_view text(info->str, info->len);
    const auto at = text.find("used_memory:");
    return at == std::string_view::npos ? 0 : std::stoull(std::string(text.substr(at + 12, 20)));
  }

 protected:
  reply take(void* answer) const {
    reply r(static_cast<redisReply*>(answer), freeReplyObject);
    if (r == nullptr) throw std::runtime_error("redis: the connection broke");
    if (r->type == REDIS_REPLY_ERROR) throw std::runtime_error(std::string("redis: ") + r->str);
    return r;
  }
  reply next() const {
    void* answer = nullptr;
    redisGetReply(context_.get(), &answer);
    return take(answer);
  }
  void append_get(argument_t<K> key) const {
    if constexpr (nested) {
      const auto group = key.group.view();
      redisAppendCommand(context_.get(), "HGET %b %b", group.data(), group.size(), &key.item, sizeof key.item);
    } else {
      const key_bytes bytes(key);
      redisAppendCommand(context_.get(), "GET %b", bytes.data(), bytes.size());
    }
  }
  void append_put(argument_t<K> key, const V& value) const {
    const auto v = value_bytes(value);
    if constexpr (nested) {
      const auto group = key.group.view();
      redisAppendCommand(context_.get(), "HSET %b %b %b", group.data(), group.size(), &key.item, sizeof key.item,
                         v.data(), v.size());
    } else {
      const key_bytes bytes(key);
      redisAppendCommand(context_.get(), "SET %b %b", bytes.data(), bytes.size(), v.data(), v.size());
    }
  }

  std::unique_ptr<redisContext, void (*)(redisContext*)> context_;
  int pending_ = 0;
};

} // namespace bench
