select
    reported_at,
    name as asset,
    cast(number as bigint) as loss,
    cast({{ json_at('item', 0) }} as double) as points,
    {{ json_at('item', 1) }} as reason,
    cast({{ json_at('item', 2) }} as bigint) as rows_concerned
from {{ json_items(source('metadata', 'quality_scores'), 'losses') }} as lost
