select
    Store as store_id,
    StoreType as store_type,
    -- an unknown code stays as it is, to be seen
    case Assortment
        when 'a' then 'basic'
        when 'b' then 'extra'
        when 'c' then 'extended'
        else Assortment
    end as assortment,
    -- the hub fills unknown distances with 100,000 and unknown dates with 0, which the features need; here they are null
    case when CompetitionDistance < 100000 then CompetitionDistance end as competition_distance_metres,
    nullif(CompetitionOpenSinceYear, 0) as competition_since_year,
    nullif(CompetitionOpenSinceMonth, 0) as competition_since_month,
    Promo2 = 1 as takes_part_in_promo2,
    PromoInterval as promo2_months
from {{ source('hub', 'stores') }}
