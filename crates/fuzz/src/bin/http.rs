fn main() -> std::process::ExitCode {
    roomtape_fuzz::main("http")
}
