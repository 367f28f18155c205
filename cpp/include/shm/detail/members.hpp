// SPDX-License-Identifier: Apache-2.0
// What types are made of, as far as the compiler shows it: whether one holds addresses of this process's memory.
//
// An aggregate is looked through member by member: T{any, any, bad} compiles if its third member can be initialised by
// `bad`, an object that converts to those types alone that must not be shared. An array before it is given as {any, any},
// else each of its elements would take one; so it costs no more than another member, and a struct of n members a few times n
// instantiations. Base classes are initialised like members, so they are seen, too.
// Not seen is what is no aggregate: private members, classes with constructors; what stands in a union behind its first
// member; and in one struct what comes behind six separate groups of arrays, or 200 members.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "namespace.hpp"

SHM_DETAIL_BEGIN

template <class T, class = void>
struct has_element_type : std::false_type {}; // spans and smart pointers have one
template <class T>
struct has_element_type<T, std::void_t<typename T::element_type>> : std::true_type {};
template <class T, class = void>
struct has_iterator_category : std::false_type {};
template <class T>
struct has_iterator_category<T, std::void_t<typename T::iterator_category>> : std::true_type {};
template <class T>
inline constexpr bool is_view =
    std::is_pointer_v<T> || std::is_reference_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T> ||
    has_element_type<T>::value || has_iterator_category<T>::value;
template <class C, class Traits>
inline constexpr bool is_view<std::basic_string_view<C, Traits>> = true;
template <class T>
inline constexpr bool is_view<std::reference_wrapper<T>> = true;

template <template <class> class Bad, class T>
constexpr bool holds();

// Converts to whatever is asked for; to classes alone; to what is, or holds, something bad alone.
template <std::size_t = 0>
struct any_member {
  template <class U>
  constexpr operator U&() const noexcept;
};
template <std::size_t = 0>
struct any_class {
  template <class U, class = std::enable_if_t<std::is_class_v<U>>>
  constexpr operator U&() const noexcept;
};
template <template <class> class Bad>
struct bad_member {
  template <class U, class = std::enable_if_t<holds<Bad, std::remove_cv_t<U>>()>>
  constexpr operator U&() const noexcept;
};

// Whether T{members before, last...} compiles. Of those before, runs of single members and runs of arrays take turns; the
// last run is of {class, class}.
inline constexpr std::size_t member_runs = 12, most_members = 200;
template <class T, class Void, class Last, class... Run>
struct initialised : std::false_type {};
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-braces"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#endif
template <class T, class... Last, std::size_t... A, std::size_t... B, std::size_t... C, std::size_t... D,
          std::size_t... E, std::size_t... F, std::size_t... G, std::size_t... H, std::size_t... I, std::size_t... J,
          std::size_t... K, std::size_t... L, std::size_t... M>
struct initialised<T,
                   std::void_t<decltype(T{any_member<A>{}...,
                                          {any_member<B>{}, any_member<B>{}}...,
                                          any_member<C>{}...,
                                          {any_member<D>{}, any_member<D>{}}...,
                                          any_member<E>{}...,
                                          {any_member<F>{}, any_member<F>{}}...,
                                          any_member<G>{}...,
                                          {any_member<H>{}, any_member<H>{}}...,
                                          any_member<I>{}...,
                                          {any_member<J>{}, any_member<J>{}}...,
                                          any_member<K>{}...,
                                          {any_member<L>{}, any_member<L>{}}...,
                                          {any_class<M>{}, any_class<M>{}}...,
                                          Last{}...})>,
                   void(Last...), std::index_sequence<A...>, std::index_sequence<B...>, std::index_sequence<C...>,
                   std::index_sequence<D...>, std::index_sequence<E...>, std::index_sequence<F...>,
                   std::index_sequence<G...>, std::index_sequence<H...>, std::index_sequence<I...>,
                   std::index_sequence<J...>, std::index_sequence<K...>, std::index_sequence<L...>,
                   std::index_sequence<M...>> : std::true_type {};
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
template <class T, class... Last, std::size_t... N>
constexpr bool takes(std::index_sequence<N...>) {
  return initialised<T, void, void(Last...), std::make_index_sequence<N>..., std::index_sequence<>>::value;
}
template <class T, std::size_t... N>
constexpr bool takes_two_classes(std::index_sequence<N...>) {
  return initialised<T, void, void(), std::make_index_sequence<N>..., std::index_sequence<0>>::value;
}
template <std::size_t At, std::size_t... N, std::size_t... I>
constexpr auto one_more(std::index_sequence<N...>, std::index_sequence<I...>) {
  return std::index_sequence<(N + (I == At ? 1 : 0))...>{};
}

// Run: which one the member before is in. Count: members before.
template <template <class> class Bad, class T, std::size_t Run, std::size_t Count, class Before>
constexpr bool holds_from(Before before) {
  using all = std::make_index_sequence<member_runs>;
  constexpr std::size_t array_run = Run % 2 == 1 ? Run : Run + 1;
  constexpr std::size_t single_run = Run % 2 == 0 ? Run : Run + 1;
  if constexpr (takes<T, bad_member<Bad>>(Before{})) {
    return true;
  } else if constexpr (Count == most_members || !takes<T, any_member<>>(Before{})) {
    return false;
  } else if constexpr (constexpr auto longer = one_more<array_run>(Before{}, all{});
                       array_run < member_runs && takes<T>(longer) &&
                       (!takes<T, any_class<>>(Before{}) || takes_two_classes<T>(Before{}))) {
    return holds_from<Bad, T, array_run, Count + 1>(longer);
  } else if constexpr (single_run < member_runs) {
    return holds_from<Bad, T, single_run, Count + 1>(one_more<single_run>(before, all{}));
  } else {
    return false;
  }
}
template <template <class> class Bad, class T>
constexpr bool holds() {
  using plain = std::remove_cv_t<std::remove_all_extents_t<T>>;
  if constexpr (Bad<plain>::value)
    return true;
  else if constexpr (std::is_class_v<plain> && std::is_aggregate_v<plain>)
    return holds_from<Bad, plain, 0, 0>(std::index_sequence<0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>{});
  else
    return false;
}

template <class T>
using bad_address = std::bool_constant<is_view<T>>;
template <class T>
using bad_number = std::is_same<T, long double>;

template <class T>
inline constexpr bool holds_addresses = holds<bad_address, T>();
template <class T>
inline constexpr bool holds_long_doubles = holds<bad_number, T>();

SHM_DETAIL_END
