// SPDX-License-Identifier: Apache-2.0
// What the host asks of its plugin, by dlsym(). Functions return 0, or what() of the error is on stderr.
#pragma once

#pragma GCC visibility push(default)
extern "C" {
int plugin_open(const char* name);  // keeps the dict in a static object, which lives until the plugin is unloaded
int plugin_leak(const char* name);  // opens another handle that nobody ever closes
int plugin_watch(const char* name); // leaks a watcher with a descriptor: its thread runs until the plugin is unloaded
int plugin_add(const char* key, int rounds); // rounds times += 1
int plugin_hold(const char* key);            // takes the lock for 20 ms, a read-modify-write meanwhile
}
#pragma GCC visibility pop
