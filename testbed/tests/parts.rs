//! The testbed's own promises about the parts it starts. Needs workerd and OPA.

use anyhow::Result;
use serde_json::{Value, json};
use testbed::{Answer, Functions, Opa, Part, Postgres, http_client, require};

#[tokio::test]
async fn a_worker_comes_back_on_its_port_after_a_crash() -> Result<()> {
    if !require(&[Part::Workerd])? {
        return Ok(());
    }
    let mut worker = Functions::bare().start().await?;
    assert_eq!(worker.get("/").await?.ok()?, json!({"status": "ok"}));
    let url = worker.url().to_owned();
    worker.kill().await?;
    assert!(worker.get("/").await.is_err());
    worker.restart().await?;
    assert_eq!(worker.url(), url);
    assert_eq!(worker.get("/").await?.ok()?, json!({"status": "ok"}));
    Ok(())
}

#[tokio::test]
async fn a_port_in_use_and_an_unknown_variable_name_the_fix() -> Result<()> {
    if !require(&[Part::Workerd])? {
        return Ok(());
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let error = Functions::bare().port(port).start().await.unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains("--port"), "{error}");
    let error = Functions::bare().var("GIRASOL_TYPO", "1").start().await.unwrap_err().to_string();
    assert!(error.contains("fromEnvironment"), "{error}");
    Ok(())
}

#[tokio::test]
async fn opa_comes_back_empty_on_its_port() -> Result<()> {
    if !require(&[Part::Opa])? {
        return Ok(());
    }
    let mut opa = Opa::start().await?;
    let put = http_client()?.put(format!("{}/v1/data/here", opa.url())).json(&json!(1));
    Answer::of(put).await?.ok()?;
    assert_eq!(opa.data("/here").await?, json!(1));
    opa.restart().await?;
    assert_eq!(opa.data("/here").await?, Value::Null);
    Ok(())
}

#[tokio::test]
async fn postgres_comes_back_on_its_port_with_what_it_had() -> Result<()> {
    if !require(&[Part::Postgres])? {
        return Ok(());
    }
    let mut server = Postgres::start().await?;
    server.execute("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x')").await?;
    let error = server.execute("SELECT nothing").await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
    server.stop().await?;
    assert!(server.execute("SELECT 1").await.is_err());
    server.restart().await?;
    assert_eq!(server.execute("SELECT * FROM t").await?, "1|x");
    server.crash().await?;
    server.restart().await?;
    assert_eq!(server.execute("SHOW wal_level").await?, "logical");
    Ok(())
}
