select
    days.product,
    days.objective,
    days.part,
    cast(days.day as date) as day,
    days.counted_good,
    days.counted,
    days.counted_good / days.counted as good,
    (1 - days.counted_good / days.counted) / (1 - levels.target) as burn_rate
from {{ source('metadata', 'service_level_days') }} as days
left join {{ ref('service_levels') }} as levels
    on days.product = levels.product and days.objective = levels.objective and levels.is_newest
