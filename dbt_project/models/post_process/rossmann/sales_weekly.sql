select
    cast(date_trunc('week', sales.sales_date) as date) as week_start,
    coalesce(stores.store_type, 'unknown') as store_type,
    sales.has_promo,
    count(distinct sales.store_id) as stores,
    count(case when sales.is_open then 1 end) as open_store_days,
    cast(sum(sales.sales) as bigint) as sales,
    cast(sum(sales.customers) as bigint) as customers,
    cast(sum(sales.sales) as double) / nullif(sum(sales.customers), 0) as sales_per_customer
from {{ ref('fct_sales') }} as sales
left join {{ ref('dim_stores') }} as stores on sales.store_id = stores.store_id
group by
    cast(date_trunc('week', sales.sales_date) as date),
    coalesce(stores.store_type, 'unknown'),
    sales.has_promo
