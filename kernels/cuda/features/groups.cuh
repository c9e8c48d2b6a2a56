// Rows that belong to groups: one row made of each group's, and the way back.
#pragma once
#include "walk.cuh"

// Over groups: item i of the result is made of the rows order[starts[i]] up to order[starts[i + 1]]
// exclusively, or of those places themselves where `order` is null. Mirrored by the host: 0 sum, 1
// mean, 2 largest.
// `counted`: where each item's rows begin that a mean is of; null leaves it a sum. Of nothing comes
// 0.
template <typename From, typename To>
__device__ __forceinline__ void reduce_groups(Rows<const typename From::type> x, Rows<typename To::type> y, const int* order,
                                             const int* starts, const int* counted, int64_t items, int channels,
                                             int reduction) {
    auto body = [=](auto, int64_t item, int channel) {
        const int begin = __ldg(starts + item), end = __ldg(starts + item + 1);
        float total = reduction == 2 ? -INFINITY : 0.0f;
#pragma unroll 4
        for (int place = begin; place < end; ++place) {
            const int64_t row = order ? __ldg(order + place) : place;
            const float value = From::load(x(row, channel));
            total = reduction == 2 ? larger(total, value) : total + value;
        }
        if (reduction == 1 && counted) total = __fdiv_rn(total, static_cast<float>(__ldg(counted + item + 1) - __ldg(counted + item)));
        y(item, channel) = To::store(begin == end ? 0.0f : total);
    };
    walk<1>(items, channels, body);
}

// All of a group at once; its pieces; and the pieces together.
KERNEL group_reduce(Rows<const Element> x, Rows<Element> y, const int* order, const int* starts, const int* counted,
                    int64_t items, int channels, int reduction) {
    reduce_groups<Dtype, Dtype>(x, y, order, starts, counted, items, channels, reduction);
}
KERNEL group_pieces(Rows<const Element> x, Rows<float> y, const int* order, const int* starts, const int* counted,
                    int64_t items, int channels, int reduction) {
    reduce_groups<Dtype, Storage<2>>(x, y, order, starts, counted, items, channels, reduction);
}
KERNEL group_whole(Rows<const float> x, Rows<Element> y, const int* order, const int* starts, const int* counted,
                   int64_t items, int channels, int reduction) {
    reduce_groups<Storage<2>, Dtype>(x, y, order, starts, counted, items, channels, reduction);
}

// The gradient of a mean: `starts` says where each group's rows begin.
KERNEL spread_mean(Rows<const Element> grad_y, Rows<Element> grad_x, const int* group_of_row, const int* starts,
                   int groups, int64_t rows, int channels) {
    auto body = [=](auto, int64_t row, int channel) {
        const int group = __ldg(group_of_row + row);
        float value = 0.0f;
        if (group >= 0 && group < groups) {
            const float count = static_cast<float>(__ldg(starts + group + 1) - __ldg(starts + group));
            value = __fdiv_rn(Dtype::load(grad_y(group, channel)), count);
        }
        grad_x(row, channel) = Dtype::store(value);
    };
    walk<1>(rows, channels, body);
}

KERNEL spread_max(Rows<const Element> x, Rows<const Element> y, Rows<const Element> grad_y, Rows<Element> grad_x,
                  const int* group_of_row, int groups, int64_t rows, int channels) {
    auto body = [=](auto, int64_t row, int channel) {
        const int group = __ldg(group_of_row + row);
        float value = 0.0f;
        if (group >= 0 && group < groups) {
            const bool is_largest = Dtype::load(x(row, channel)) == Dtype::load(y(group, channel));
            if (is_largest) value = Dtype::load(grad_y(group, channel));
        }
        grad_x(row, channel) = Dtype::store(value);
    };
    walk<1>(rows, channels, body);
}
