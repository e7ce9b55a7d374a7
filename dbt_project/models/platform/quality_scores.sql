select
    reported_at,
    scope,
    name,
    score,
    score - lag(score) over (partition by scope, name order by reported_at) as change,
    reported_at = max(reported_at) over () as is_newest
from {{ source('metadata', 'quality_scores') }}
