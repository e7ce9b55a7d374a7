with flights as (
    select
        flight_date,
        count(*) as flights,
        count(case when outcome = 'cancelled' then 1 end) as flights_cancelled
    from {{ ref('fct_flights') }}
    group by flight_date
),

sales as (
    select
        sales_date,
        count(case when is_open then 1 end) as stores_open,
        cast(sum(sales) as bigint) as sales
    from {{ ref('fct_sales') }}
    group by sales_date
)

select
    coalesce(flights.flight_date, sales.sales_date) as activity_date,
    flights.flights,
    flights.flights_cancelled,
    sales.stores_open,
    sales.sales
from flights
full outer join sales on flights.flight_date = sales.sales_date
