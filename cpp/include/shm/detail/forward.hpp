// Names of the facade's templates, for headers that refer to each other.
#pragma once

namespace shm {

template <class K, class V>
class dict;
template <class K, class V, bool ReadOnly = false>
class dict_ref;
template <class K, class V>
class snapshot;
template <class K, class V>
class transaction;
class json_dict;

} // namespace shm
