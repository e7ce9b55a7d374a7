select
    reported_at,
    product,
    objective,
    target,
    good,
    good >= target as is_met,
    1 - target as budget,
    budget_left,
    burn_rate,
    reported_at = max(reported_at) over () as is_newest
from {{ source('metadata', 'service_levels') }}
